#!/bin/sh
# quickstart with all files that the host has.
#
# needs: binaries mkfs.ext4 e2fsck
# needs: modules ext4
# needs: files contrib/quickstart-job:/job/quickstart-job
# needs: files /usr/include:/tree/include /usr/share/perl:/tree/perl
# needs: files tests/vm/t/quickstart.sh:/t/tests/quickstart.sh
# needs: memory 2048
# time: 400
# size: long:ram
export FILES=1000000
# shellcheck source=tests/vm/t/quickstart.sh
. /t/tests/quickstart.sh
