#!/bin/sh
# Gives the data directory to the unprivileged user, once, and becomes the command as that user, with no way back.
set -eu

TANDEM_DATA_DIR="${TANDEM_DATA_DIR:-${RAILWAY_VOLUME_MOUNT_PATH:-/data}}"
export TANDEM_DATA_DIR
export HOME="$TANDEM_DATA_DIR"
umask 077

if [ "$(id -u)" -ne 0 ]; then
  exec "$@"
fi

mkdir -p "$TANDEM_DATA_DIR"
if [ "$(stat -c %u "$TANDEM_DATA_DIR")" -ne 10001 ]; then
  chown -R 10001:10001 "$TANDEM_DATA_DIR"
fi
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
