#!/bin/sh
# ublkd as a service of systemd.
#
# needs: systemd
# time: 180
. /t/lib.sh
systemctl --version | head -n 1
systemctl list-units --no-pager --no-legend || true
systemctl start ublkd || { systemctl status ublkd --no-pager; dmesg | tail -40; }
systemctl status ublkd --no-pager || true
fail "so far"
