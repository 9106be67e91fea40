# The tarball that is in DIST is unpacked in BUILD, built, and what the package is to
# have installed into TARGET_DIR.
PKG_BUILD_DIR = $(BUILD)/$(PKG_NAME)-$(PKG_VERSION)
PKG_INSTALL_DIR = $(PKG_BUILD_DIR)/ipkg-install
CONFIGURE_ARGS = --prefix=/usr --sysconfdir=/etc

define BuildPackage
package:
	mkdir -p $(BUILD)
	tar -xf $(DIST)/$(PKG_SOURCE) -C $(BUILD)
	test -s $(PKG_BUILD_DIR)/$(PKG_LICENSE_FILES)
	cd $(PKG_BUILD_DIR) && ./configure $(CONFIGURE_ARGS)
	$$(MAKE) -C $(PKG_BUILD_DIR) $(MAKE_FLAGS)
	$$(MAKE) -C $(PKG_BUILD_DIR) $(MAKE_INSTALL_FLAGS) \
		DESTDIR=$(PKG_INSTALL_DIR) install
$(call Package/$(1)/install,$(TARGET_DIR))
endef
