#!/bin/sh
# The main job of seawall, on real text: append, die in the middle of an
# append, verify, read everything back, damage a byte, verify again.
#
#   sh cmd/seawall/demo.sh path/to/seawall
#
# It needs Go and the coreutils, works in a directory of its own below $TMPDIR,
# and exits with 1 when a step does not turn out as it says.
set -eu
export LC_ALL=C # lengths are bytes, also where a shell counts characters

[ $# = 1 ] || { echo "usage: sh demo.sh path/to/seawall" >&2; exit 1; }
seawall=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/seawall-demo.XXXXXX")
log=$scratch/log
writer= feeder=

cleanup() {
    trap - EXIT
    trap '' HUP INT TERM
    # The feeder's last program ends when nobody reads its pipe any more.
    for pid in $writer $feeder; do
        kill -9 "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n== %s\n' "$1"; }
say() { printf '   %s\n' "$@"; }
die() {
    printf '\ndemo: %s\n' "$1" >&2
    exit 1
}

# run COMMAND... shows a command and its output, and leaves its exit code in
# $code and its output in $scratch/out.
run() {
    printf '   $ seawall'
    printf ' %s' "$@"
    printf '\n'
    code=0
    "$seawall" "$@" </dev/null >"$scratch/out" 2>&1 || code=$?
    while IFS= read -r line; do printf '   | %s\n' "$line"; done <"$scratch/out"
    printf '   exit code %d\n' "$code"
}

size() { wc -c <"$1" | tr -d ' '; }
lines() { wc -l <"$1" | tr -d ' '; }
checksum() { sha256sum | cut -d ' ' -f 1; }

# last_ack prints the LSN of the last whole line `acked LSN`, or 0.
last_ack() {
    last=$(head -n "$(lines "$scratch/acks")" "$scratch/acks" | tail -n 1)
    case ${last#acked } in
        '' | *[!0-9]*) echo 0 ;;
        *) echo "${last#acked }" ;;
    esac
}

# wait_for_acks N waits until N lines of acks came from the running writer.
wait_for_acks() {
    tries=0
    while [ "$(lines "$scratch/acks")" -lt "$1" ]; do
        # A process that has ended is gone, or a zombie until it is waited for.
        read -r _ _ state _ 2>/dev/null <"/proc/$writer/stat" || state=Z
        [ "$state" != Z ] || { cat "$scratch/said" >&2; die "append ended by itself"; }
        tries=$((tries + 1))
        [ $tries -lt 600 ] || die "append acknowledged nothing for 30 seconds"
        sleep 0.05
    done
}

# expected prints the first $1 bytes of all that was fed to append: the first
# part, and behind it the second part again and again.
expected() {
    rest=$1
    for part in first second; do
        bytes=$(size "$scratch/$part")
        while [ "$rest" -gt 0 ]; do
            head -c "$rest" "$scratch/$part"
            rest=$((rest - bytes))
            [ $part = second ] || break
        done
    done
}

# find_text FILE TEXT leaves in $offset where TEXT stands in the first bytes
# of FILE.
find_text() {
    head=$(head -c 262144 "$1" | tr '\000-\010\012-\037\177-\377' '.')
    before=${head%%"$2"*}
    [ "$before" != "$head" ] || die "the text is not in $1"
    offset=${#before}
}

# flip FILE OFFSET changes the lowest bit of one byte.
flip() {
    old=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((old ^ 1)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

step "Input: the sources of Go's standard library"
goroot=$(go env GOROOT)
cat "$goroot"/src/*/*.go >"$scratch/text" 2>/dev/null || :
head -n 300000 "$scratch/text" >"$scratch/first"
head -n 500000 "$scratch/text" | tail -n 200000 >"$scratch/second"
rm "$scratch/text"
first=$(lines "$scratch/first")
[ "$first" = 300000 ] || die "there is too little text in $goroot/src"
say "$first lines, $(size "$scratch/first") bytes; each line becomes a record."

step "1. Append it all, and come to the end"
say "The end of the input is a checkpoint: all records are on disk then."
say "\$ seawall append $log < first"
"$seawall" append "$log" <"$scratch/first" 2>"$scratch/said" || { cat "$scratch/said" >&2; die "append failed"; }
while IFS= read -r line; do say "| $line"; done <"$scratch/said"
run verify "$log"
[ "$code" = 0 ] || die "a log that was closed cleanly must verify as clean"

step "2. Append again, and die in the middle: kill -9"
say "The input never ends, so that the kill hits a working append. With --ack it" \
    "prints \`acked LSN\` once all records up to that LSN are durable."
say "\$ feed | seawall append $log --sync 20ms --ack"
mkfifo "$scratch/feed"
: >"$scratch/acks"
"$seawall" append "$log" --sync 20ms --ack <"$scratch/feed" >"$scratch/acks" 2>"$scratch/said" &
writer=$!
(while cat "$scratch/second"; do :; done) >"$scratch/feed" 2>/dev/null &
feeder=$!
wait_for_acks 3
kill -9 "$writer"
code=0
wait "$writer" 2>/dev/null || code=$?
writer=
wait "$feeder" 2>/dev/null || :
feeder=
[ "$code" = 137 ] || die "append ended with $code before it was killed"
acked=$(last_ack)
[ "$acked" -gt "$first" ] || die "nothing of the second append was acknowledged"
say "Killed. It had acknowledged LSN $acked."

step "3. Verify: is anything lost?"
say "A torn tail (exit code 1) would be legal here, damage (4) would not."
run verify "$log"
[ "$code" -le 1 ] || die "after a kill the log must be clean or torn, not exit code $code"

step "4. Read it back, and compare byte for byte with what went in"
code=0
"$seawall" dump "$log" >"$scratch/dump" 2>"$scratch/said" || code=$?
[ "$code" -le 1 ] || { cat "$scratch/said" >&2; die "dump ended with $code"; }
found=$(lines "$scratch/dump")
say "\$ seawall dump $log > dump: $found lines, $(size "$scratch/dump") bytes"
[ "$found" -ge "$acked" ] || die "$((acked - found)) acknowledged records are lost"
got=$(checksum <"$scratch/dump")
want=$(expected "$(size "$scratch/dump")" | checksum)
say "SHA-256 of the dump              $got" "SHA-256 of as much of the input  $want"
[ "$got" = "$want" ] || die "the dump is not a prefix of the input"
say "Equal: all $acked acknowledged records are there."
[ "$found" = "$acked" ] ||
    say "So are $((found - acked)) that were appended and not yet acknowledged: they lay in the" \
        "mapping, which belongs to the kernel and outlives the process."

step "5. Flip one bit inside an acknowledged record"
set -- "$log"/*.wal
segment=$1
head -n 2000 "$scratch/first" | tail -n 1000 >"$scratch/some"
text=
while IFS= read -r line; do
    # A line of printable text, long enough to be found again.
    case $line in *[!\ -~]*) continue ;; esac
    [ ${#line} -lt 40 ] || { text=$line; break; }
done <"$scratch/some"
[ -n "$text" ] || die "no line of the text is fit to be found again"
find_text "$segment" "$text"
offset=$((offset + 20))
flip "$segment" "$offset"
say "The record with the text" "    $text" "is changed at byte $offset of ${segment##*/}. It was acknowledged long ago."

step "6. Verify again: damage must be seen, and told from a torn tail"
run verify "$log"
[ "$code" = 4 ] || die "verify must exit with 4 for damage, not $code"
case $(cat "$scratch/out") in
    *[Dd]amaged*) ;;
    *) die "verify does not say that the log is damaged" ;;
esac

step "All as promised. The log was in $scratch, which is removed now."
