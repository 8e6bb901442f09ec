#!/bin/sh
# Looks at the repository DIR/repo: its objects have to be whole, and HEAD has to lead to a commit
# if there is any. The index is left out: git makes it again from a commit.
#
#   git-whole.sh DIR
dir=$1
. "${0%/*}/git-lib.sh"
[ -e "$dir/repo" ] || exit 0
cd "$dir/repo" || exit 1
export GIT_INDEX_FILE=.git/none
said=$(git fsck --full --no-dangling --no-progress 2>&1) || { echo "$said" | grep -v ^notice | head -n 1; exit 1; }
[ ! -e .git/refs/heads/main ] || git cat-file -e HEAD^0 2>/dev/null || { echo "HEAD leads to no commit"; exit 1; }
