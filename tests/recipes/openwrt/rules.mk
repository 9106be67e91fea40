# What contrib/openwrt needs of OpenWrt, for contrib/check; see include/package.mk.
INCLUDE_DIR = $(TOPDIR)/include
INSTALL_DIR = install -d -m 755
INSTALL_BIN = install -m 755
INSTALL_CONF = install -m 600
