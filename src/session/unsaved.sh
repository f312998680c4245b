# Counts what a clone has that is nowhere else; run inside of the session's sandbox. Argument: the commit that the
# session began at. Says: changed files, commits.
set -eu
base=$1
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_OPTIONAL_LOCKS=0
changed=$(git -c core.fsmonitor=false -c core.hooksPath=/dev/null status --porcelain | wc -l)
commits=$(git rev-list --count HEAD --branches --not --remotes "$base")
stashed=$(git rev-list --count --walk-reflogs refs/stash 2>/dev/null || echo 0)
echo "$changed $((commits + stashed))"
