#!/bin/sh
# Commits to the repository DIR/repo, and acknowledges each commit by its number:
#
#   git-work.sh DIR [FSYNC]
#
# FSYNC is a value of core.fsync; without it git does as it is installed. The empty repository is
# durable before it gets its name. What a crash left is gone on from, unless it is damaged.
set -e
dir=$1 fsync=$2
. "${0%/*}/git-lib.sh"
if [ -e "$dir/repo" ]; then
	cd "$dir/repo"
	# What a person does where git died.
	find .git -name '*.lock' -delete
	rm -f .git/index
	git fsck --no-progress >/dev/null 2>&1 || exit 0
	git reset -q --hard 2>/dev/null || true # there may be no commit yet
else
	rm -rf "$dir/new"
	git init -q --initial-branch main "$dir/new"
	sync -f "$dir/new"
	mv "$dir/new" "$dir/repo"
	sync "$dir"
	cd "$dir/repo"
fi
n=$(git log -1 --format=%s 2>/dev/null || true)
n=${n:-0}
for i in $(seq $((n + 1)) $((n + 8))); do
	echo "content $i" >file
	[ "$i" != 1 ] || git add file
	git commit -q -a -m "$i"
	echo "ack $i"
done
