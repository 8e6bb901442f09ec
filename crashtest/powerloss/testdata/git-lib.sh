# What the scripts git-*.sh have in common: no configuration of the machine, and no work in the
# background; $fsync is the value of core.fsync, or empty.
unset $(git rev-parse --local-env-vars) # a hook of git's may run the tests
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=known GIT_AUTHOR_EMAIL=known@localhost GIT_COMMITTER_NAME=known GIT_COMMITTER_EMAIL=known@localhost
git() { command git ${fsync:+-c "core.fsync=$fsync"} -c gc.auto=0 -c maintenance.auto=false -c safe.directory='*' "$@"; }
