include $(sort $(wildcard $(BR2_EXTERNAL_UBLKD_PATH)/package/*/*.mk))
