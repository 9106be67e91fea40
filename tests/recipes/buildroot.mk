# What contrib/buildroot needs of Buildroot, for contrib/check: the tarball that is in
# DIST is unpacked in BUILD, built, and installed into TARGET_DIR.
INSTALL = install
BR2_PACKAGE_UBLKD_SITE = "$(DIST)"
BR2_PACKAGE_UBLKD_CTL = y
BR2_PACKAGE_UBLKD_FILE = y

qstrip = $(strip $(subst ",,$(1)))
KCONFIG_ENABLE_OPT = echo $(1)=y >>$(TARGET_DIR)/kernel-config

define autotools-package
$(BUILD)/.stamp_target_installed:
	mkdir -p $(BUILD) $(TARGET_DIR)
	tar -xf $(UBLKD_SITE)/$(UBLKD_SOURCE) --strip-components=1 -C $(BUILD)
	test -s $(BUILD)/$(UBLKD_LICENSE_FILES)
	cd $(BUILD) && ./configure --prefix=/usr --sysconfdir=/etc $(UBLKD_CONF_OPTS)
	$$(MAKE) -C $(BUILD) $(UBLKD_MAKE_OPTS)
	$$(MAKE) -C $(BUILD) $(UBLKD_INSTALL_TARGET_OPTS)
	$$(UBLKD_INSTALL_INIT_SYSV)
	$$(UBLKD_INSTALL_INIT_OPENRC)
	$$(UBLKD_LINUX_CONFIG_FIXUPS)
endef

include $(BR2_EXTERNAL_UBLKD_PATH)/external.mk
