/*
 * The ublk driver's interface, as this program uses it.
 *
 * Our own definitions: the header of the oldest supported distribution lacks
 * most of them. The layouts are the kernel's ABI and are checked below.
 */
#ifndef UBLKD_UAPI_H
#define UBLKD_UAPI_H

#include <stdint.h>
#include <linux/ioctl.h>

#define UBLK_CONTROL_PATH "/dev/ublk-control"

/* Feature bits of GET_FEATURES; those up to 63 are a device's flags too. */
#define UBLK_F_SUPPORT_ZERO_COPY      (1ULL << 0)
#define UBLK_F_URING_CMD_COMP_IN_TASK (1ULL << 1)
#define UBLK_F_NEED_GET_DATA	      (1ULL << 2)
#define UBLK_F_USER_RECOVERY	      (1ULL << 3)
#define UBLK_F_USER_RECOVERY_REISSUE  (1ULL << 4)
#define UBLK_F_UNPRIVILEGED_DEV	      (1ULL << 5)
#define UBLK_F_CMD_IOCTL_ENCODE	      (1ULL << 6)
#define UBLK_F_USER_COPY	      (1ULL << 7)
#define UBLK_F_ZONED		      (1ULL << 8)
#define UBLK_F_USER_RECOVERY_FAIL_IO  (1ULL << 9)
#define UBLK_F_UPDATE_SIZE	      (1ULL << 10)
#define UBLK_F_AUTO_BUF_REG	      (1ULL << 11)
#define UBLK_F_QUIESCE		      (1ULL << 12)
#define UBLK_F_PER_IO_DAEMON	      (1ULL << 13)
#define UBLK_F_BUF_REG_OFF_DAEMON     (1ULL << 14)
#define UBLK_F_BATCH_IO		      (1ULL << 15)
#define UBLK_F_INTEGRITY	      (1ULL << 16)
#define UBLK_F_SAFE_STOP_DEV	      (1ULL << 17)
#define UBLK_F_NO_AUTO_PART_SCAN      (1ULL << 18)
#define UBLK_F_SHMEM_ZC		      (1ULL << 19)
#define UBLK_F_IO_DESC_SIZE	      (1ULL << 20)

/* Limits of the driver. */
#define UBLK_MAX_QUEUE_DEPTH 4096
#define UBLK_MAX_QUEUES	     4096
#define UBLK_MAX_DEVICES     (1U << 20)
#define UBLK_MAX_IO_BYTES    (32U << 20) /* a tag's span in user copy */

/* States in ublk_dev_info. */
#define UBLK_S_DEV_DEAD	    0
#define UBLK_S_DEV_LIVE	    1
#define UBLK_S_DEV_QUIESCED 2
#define UBLK_S_DEV_FAIL_IO  3

/* The argument of every control command, in a 128-byte SQE. */
struct ublk_ctrl_cmd {
	uint32_t dev_id;
	uint16_t queue_id; /* 0xffff where no queue is meant */
	uint16_t len;	   /* bytes at addr */
	uint64_t addr;
	uint64_t data;
	uint16_t dev_path_len;
	uint16_t pad;
	uint32_t reserved;
};
_Static_assert(sizeof(struct ublk_ctrl_cmd) == 32, "kernel ABI");

struct ublk_dev_info {
	uint16_t nr_hw_queues;
	uint16_t queue_depth;
	uint16_t state;
	uint16_t pad0;
	uint32_t max_io_buf_bytes;
	uint32_t dev_id;
	int32_t server_pid;
	uint32_t pad1;
	uint64_t flags;
	uint64_t server_flags; /* ours: the driver keeps it and never looks */
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint64_t reserved1;
	uint64_t reserved2;
};
_Static_assert(sizeof(struct ublk_dev_info) == 64, "kernel ABI");

#define UBLK_CMD_GET_DEV_INFO	     _IOR('u', 0x02, struct ublk_ctrl_cmd)
#define UBLK_CMD_ADD_DEV	     _IOWR('u', 0x04, struct ublk_ctrl_cmd)
#define UBLK_CMD_DEL_DEV	     _IOWR('u', 0x05, struct ublk_ctrl_cmd)
#define UBLK_CMD_START_DEV	     _IOWR('u', 0x06, struct ublk_ctrl_cmd)
#define UBLK_CMD_STOP_DEV	     _IOWR('u', 0x07, struct ublk_ctrl_cmd)
#define UBLK_CMD_SET_PARAMS	     _IOWR('u', 0x08, struct ublk_ctrl_cmd)
#define UBLK_CMD_START_USER_RECOVERY _IOWR('u', 0x10, struct ublk_ctrl_cmd)
#define UBLK_CMD_END_USER_RECOVERY   _IOWR('u', 0x11, struct ublk_ctrl_cmd)
#define UBLK_CMD_GET_FEATURES	     _IOR('u', 0x13, struct ublk_ctrl_cmd)
#define UBLK_CMD_DEL_DEV_ASYNC	     _IOR('u', 0x14, struct ublk_ctrl_cmd)
#define UBLK_CMD_UPDATE_SIZE	     _IOWR('u', 0x15, struct ublk_ctrl_cmd)
#define UBLK_CMD_QUIESCE_DEV	     _IOWR('u', 0x16, struct ublk_ctrl_cmd)
#define UBLK_CMD_TRY_STOP_DEV	     _IOWR('u', 0x17, struct ublk_ctrl_cmd)

/* Parameters of a device. */
#define UBLK_ATTR_READ_ONLY	 (1U << 0)
#define UBLK_ATTR_ROTATIONAL	 (1U << 1)
#define UBLK_ATTR_VOLATILE_CACHE (1U << 2)
#define UBLK_ATTR_FUA		 (1U << 3)

struct ublk_param_basic {
	uint32_t attrs;
	uint8_t logical_bs_shift;
	uint8_t physical_bs_shift;
	uint8_t io_opt_shift;
	uint8_t io_min_shift;
	uint32_t max_sectors;
	uint32_t chunk_sectors;
	uint64_t dev_sectors;
	uint64_t virt_boundary_mask;
};

struct ublk_param_discard {
	uint32_t discard_alignment;
	uint32_t discard_granularity;
	uint32_t max_discard_sectors;
	uint32_t max_write_zeroes_sectors;
	uint16_t max_discard_segments;
	uint16_t reserved0;
};

#define UBLK_PARAM_TYPE_BASIC	(1U << 0)
#define UBLK_PARAM_TYPE_DISCARD (1U << 1)

/* The two kinds that are set here; a shorter length than the kernel's is fine. */
struct ublk_params {
	uint32_t len;
	uint32_t types;
	struct ublk_param_basic basic;
	struct ublk_param_discard discard;
};
_Static_assert(sizeof(struct ublk_param_basic) == 32, "kernel ABI");
_Static_assert(sizeof(struct ublk_param_discard) == 20, "kernel ABI");

/* One request, as the driver describes it in the mapping of a queue. */
#define UBLK_IO_OP_READ		0
#define UBLK_IO_OP_WRITE	1
#define UBLK_IO_OP_FLUSH	2
#define UBLK_IO_OP_DISCARD	3
#define UBLK_IO_OP_WRITE_ZEROES 5

#define UBLK_IO_F_FUA	       (1U << 13)
#define UBLK_IO_F_NOUNMAP      (1U << 15)
#define UBLK_IO_F_NEED_REG_BUF (1U << 17) /* its pages are not registered */

struct ublk_io_desc {
	uint32_t op_flags; /* op in bits 0-7, flags above */
	uint32_t nr_sectors;
	uint64_t start_sector;
	uint64_t addr;
};
_Static_assert(sizeof(struct ublk_io_desc) == 24, "kernel ABI");

/* The argument of FETCH, COMMIT and GET_DATA, in a 64-byte SQE. */
struct ublk_io_cmd {
	uint16_t q_id;
	uint16_t tag;
	int32_t result; /* bytes, or a negative errno */
	uint64_t addr;	/* of the data; zero in user copy */
};
_Static_assert(sizeof(struct ublk_io_cmd) == 16, "kernel ABI");

/*
 * With UBLK_F_AUTO_BUF_REG the SQE's own address says where in the ring's table
 * the request's pages are registered; and that one whose pages cannot be is
 * delivered all the same.
 */
#define UBLK_AUTO_BUF_REG(index) ((uint64_t)(uint16_t)(index) | 1ULL << 16)

#define UBLK_IO_FETCH_REQ	     _IOWR('u', 0x20, struct ublk_io_cmd)
#define UBLK_IO_COMMIT_AND_FETCH_REQ _IOWR('u', 0x21, struct ublk_io_cmd)
#define UBLK_IO_NEED_GET_DATA	     _IOWR('u', 0x22, struct ublk_io_cmd)

/* A result of theirs beside 0: a write whose data must be asked for. */
#define UBLK_IO_RES_NEED_GET_DATA 1

/*
 * With UBLK_F_BATCH_IO (about 7.0) those three are refused. One command makes all
 * tags of a queue ready, one brings lists of tags that have requests, in buffers
 * of the ring's, until it ends; one commits a list. The first and the last are
 * done within the submit; COMMIT's result is the number of bytes that it has
 * taken, or a negative errno if that is none.
 */
struct ublk_batch_io {
	uint16_t q_id;
	uint16_t flags;
	uint16_t nr_elem;   /* of the list at the SQE's address */
	uint8_t elem_bytes; /* of each; of a tag in FETCH */
	uint8_t reserved;
	uint64_t reserved2;
};
_Static_assert(sizeof(struct ublk_batch_io) == 16, "kernel ABI");

#define UBLK_BATCH_F_HAS_BUF_ADDR	   (1U << 1)
#define UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK (1U << 2)

struct ublk_batch_element {
	uint16_t tag;
	uint16_t buf_index; /* with UBLK_F_AUTO_BUF_REG */
	int32_t result;	    /* as in struct ublk_io_cmd */
	uint64_t addr;	    /* only with UBLK_BATCH_F_HAS_BUF_ADDR */
};
_Static_assert(sizeof(struct ublk_batch_element) == 16, "kernel ABI");

#define UBLK_IO_PREP_IO_CMDS   _IOWR('u', 0x25, struct ublk_batch_io)
#define UBLK_IO_COMMIT_IO_CMDS _IOWR('u', 0x26, struct ublk_batch_io)
#define UBLK_IO_FETCH_IO_CMDS  _IOWR('u', 0x27, struct ublk_batch_io)

/* Where a request's data lies on the char device in user copy. */
#define UBLK_DATA_OFFSET(queue, tag) \
	(0x80000000ULL + ((uint64_t)(queue) << 41) + ((uint64_t)(tag) << 25))

#endif
