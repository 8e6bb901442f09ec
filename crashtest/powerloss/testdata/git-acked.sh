#!/bin/sh
# Looks at the repository DIR/repo: what HEAD leads to has to hold all commits that are named in
# the file ACKS:
#
#   git-acked.sh DIR ACKS
dir=$1 acks=$2
. "${0%/*}/git-lib.sh"
wanted=$(sort -n "$acks" | tail -n 1)
found=$(git -C "$dir/repo" log -1 --format=%s 2>/dev/null)
[ "${found:-0}" -ge "$wanted" ] || { echo "commit $wanted was made, the last one is ${found:-0}"; exit 1; }
