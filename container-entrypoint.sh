#!/bin/sh
# Become one line of the Procfile: `container-entrypoint.sh worker`.
set -eu
cd "$(dirname "$0")"
line="$(sed -n "s/^${1:-}: *//p" Procfile)"
if [ -z "$line" ]; then
    echo "'${1:-}' is not in the Procfile; it has: $(sed 's/:.*//' Procfile | tr '\n' ' ')" >&2
    exit 2
fi
eval "exec $line"
