################################################################################
#
# ublkd
#
################################################################################

UBLKD_VERSION = 0.1.0
UBLKD_SOURCE = ublkd-$(UBLKD_VERSION).tar.gz
UBLKD_SITE = $(call qstrip,$(BR2_PACKAGE_UBLKD_SITE))
UBLKD_LICENSE = MIT
UBLKD_LICENSE_FILES = COPYING
UBLKD_DEPENDENCIES = host-pkgconf libev liburing

UBLKD_CONF_OPTS = \
	--disable-nbd \
	--without-bashcompletiondir \
	--without-fishcompletiondir \
	--without-zshcompletiondir \
	$(if $(BR2_PACKAGE_UBLKD_CTL),--enable-ctl,--disable-ctl) \
	$(if $(BR2_PACKAGE_UBLKD_FILE),--enable-file,--disable-file) \
	$(if $(BR2_PACKAGE_UBLKD_LAYERS),--enable-layers,--disable-layers) \
	$(if $(BR2_PACKAGE_UBLKD_SIGHT),--enable-sight,--disable-sight) \
	$(if $(BR2_INIT_SYSTEMD),--enable-systemd,--disable-systemd)

# For the shell of ublkctl
ifeq ($(BR2_PACKAGE_LIBEDIT),y)
UBLKD_DEPENDENCIES += libedit
UBLKD_CONF_OPTS += --enable-libedit
else
UBLKD_CONF_OPTS += --disable-libedit
endif

ifeq ($(BR2_PACKAGE_HAS_UDEV),)
UBLKD_CONF_OPTS += --without-udevrulesdir
endif

# Its programs alone: those of the tests are not for the target.
UBLKD_MAKE_OPTS = noinst_PROGRAMS=
UBLKD_INSTALL_TARGET_OPTS = DESTDIR=$(TARGET_DIR) noinst_PROGRAMS= install

# Before what mounts file systems that are on its devices.
define UBLKD_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/contrib/sysv/ublkd \
		$(TARGET_DIR)/etc/init.d/S15ublkd
endef

define UBLKD_INSTALL_INIT_OPENRC
	$(INSTALL) -D -m 0755 $(@D)/contrib/openrc/ublkd \
		$(TARGET_DIR)/etc/init.d/ublkd
	$(INSTALL) -D -m 0644 $(@D)/contrib/openrc/ublkd.confd \
		$(TARGET_DIR)/etc/conf.d/ublkd
endef

define UBLKD_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_IO_URING)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BLK_DEV_UBLK)
endef

$(eval $(autotools-package))
