/*
 * A device: what it is made by, what is known of it, its queues, the keeper that
 * is asked for its commands, and who waits for it. What happens to it, step by
 * step, is in life.h.
 */
#ifndef UBLKD_DEVICE_H
#define UBLKD_DEVICE_H

#include <stdint.h>

#include "base/channel.h"
#include "base/failure.h"
#include "base/owner.h"
#include "layer/layer.h"
#include "io/queue.h"
#include "target/target.h"

#define DEVICE_NAME_MAX	 63
#define DEVICE_WHY_MAX	 199
#define DEVICE_ID_ANY	 UINT32_MAX
#define DEVICE_SIZE_AUTO UINT64_MAX

/* The rows of the table in life.c; and what else may follow from a step. */
enum device_step {
	DEVICE_FEATURES, /* ask what the driver can do */
	DEVICE_OWNER,	 /* look who is to own its node */
	DEVICE_NUMBER,	 /* the number cannot be had: choose another */
	DEVICE_ADD,
	DEVICE_PARAMS,
	DEVICE_NOTE, /* give the keeper what the next server will need */
	DEVICE_OPEN, /* the char device and its queues */
	DEVICE_START,
	DEVICE_TIMEOUT, /* lower the disk's I/O timeout (6.12) */
	DEVICE_NODE,	/* wait for /dev/ublkbN */

	DEVICE_PREPARED, /* another server's device, not taken over yet */
	DEVICE_GIVE,	 /* its file is open again: the keeper is to have it */
	DEVICE_RECOVER,	 /* begin to take it over */
	DEVICE_RECOVER_OPEN,
	DEVICE_RECOVER_END,
	DEVICE_RECOVER_TIMEOUT,

	DEVICE_SERVE, /* from now on */
	DEVICE_LOSE,  /* it cannot be taken over now */
	DEVICE_LIVE,
	DEVICE_LOST, /* the driver holds its I/O until a later try */

	DEVICE_NOTE_AGAIN, /* its command has changed */
	DEVICE_TRIM,	   /* give back what lies behind its end */
	DEVICE_RESIZE,
	DEVICE_NOTE_SIZE, /* so its command has changed */
	DEVICE_QUIESCE,	  /* it is to rest, as soon as it has no request */
	DEVICE_CHECK,	  /* is anybody using it? That is all */

	DEVICE_BUSY, /* is anybody using it? Else it is deleted */
	DEVICE_TRY_STOP,
	DEVICE_STOP,
	DEVICE_DRAIN, /* wait until the driver gave up every tag */
	DEVICE_DELETE,
	DEVICE_LINGER,	/* gone, but its backing has not answered yet */
	DEVICE_RELEASE, /* gone from the kernel: give its memory back */
	DEVICE_CLOSE,	/* close its files */
	DEVICE_GONE,
	DEVICE_STEPS,

	DEVICE_STAY,   /* wait: for an answer, the timer or a command */
	DEVICE_NEXT,   /* the step is done: what comes next, by the table */
	DEVICE_FAILED, /* it has a failure: what comes then, by the table */
	DEVICE_UNSENT, /* device->unsent: as if the keeper had answered that */
};

/* What happens to its I/O when the server dies. */
enum recovery {
	RECOVERY_REISSUE,
	RECOVERY_QUEUE,
	RECOVERY_FAIL,
	RECOVERY_NO,
};

/* What `add` was given, beside the target's own options. */
struct device_spec {
	uint32_t id;			/* or DEVICE_ID_ANY */
	char name[DEVICE_NAME_MAX + 1]; /* "": ublkbN */
	uint16_t queues, depth;
	uint32_t max_io; /* bytes */
	int read_only;
	enum recovery recovery;
	uint64_t stuck_after; /* us; 0: never, see stuck.h */
	int no_partscan;      /* the kernel is not to look for partitions */
	int batch;	      /* commands for many requests */
	char owner[DEVICE_NAME_MAX + 1]; /* of its node, as typed, or "" */
	uint16_t node_mode;		 /* of that; 0: as it comes */
	uid_t asked_by;	   /* who wants that: others than root may less */
	int configured;	   /* it came from the configuration file */
	int rests;	   /* the server before had quiesced it, */
	int can_rest;	   /* and the driver can do that */
	enum io_mode mode; /* IO_MODES: the target's best that is to be had */
	struct geometry geometry; /* from the target */
	struct target *target;	  /* the device's from device_add() on */
	struct layers layers;	  /* on it, likewise */
	char *words;		  /* the command as typed, likewise */
	/* The file that was made for it: it goes again if the add fails. */
	char *new_file;
};

struct device;
struct device_set;

/* Whether requests wait for longer than stuck_after. */
enum stuck {
	STUCK_NOT,
	STUCK_UNTOLD, /* and the log is to hear of it */
	STUCK_TOLD,
};

/*
 * What somebody waited for has ended; failure is NULL on success. After a failed
 * add and a successful delete the target is closed, and the device is freed when
 * this returns.
 */
typedef void device_done(void *context, struct device *device,
			 const struct failure *failure);

/* How far the take-over of a device has got in this server. */
enum taken {
	TAKEN_NOT,
	TAKEN_BEGUN,   /* the driver has given it out */
	TAKEN_FETCHED, /* and may have a queue's FETCHes */
};

/*
 * Begin to open the true target of a device that has a stand-in for it. That
 * ends, now or later, in one call of device_reopened(), device_reopen_failed()
 * or device_give().
 */
typedef void device_reopen(struct device *device);

struct device {
	struct device *next;
	struct device_set *set;
	uint64_t serial; /* of its messages */
	enum device_step step;
	struct device_spec spec;   /* id, queues and depth as accepted */
	char disk[16];		   /* "ublkb0"; "" before it has an id */
	int fd;			   /* the char device, or -1 */
	struct queue *queues;	   /* spec.queues of them, once open */
	struct recorder *recorder; /* from then on; NULL: it has none */
	unsigned open_queues;
	uint32_t number;     /* that the driver is asked for */
	struct owner owner;  /* of its node, once it is known */
	int picks_number;    /* and may choose another one */
	int skips;	     /* the one that it has, which is given back */
	unsigned tries;	     /* of other ones */
	int force;	     /* delete it whoever uses it */
	int finished;	     /* its target's finish() has been called */
	int abandons;	     /* and whatever its backing does: from then on */
	int abandoned;	     /* its requests are answered without that */
	uint64_t served;     /* requests, at the last look while it abandons, */
	double served_at;    /* and when that last changed, as loop_now() */
	double timed_out_at; /* likewise when requests were told of; or 0 */
	int is_counted;	     /* in the set's count: it is not deleted */
	int seen_busy;	     /* somebody had it open when it was looked */
	int adopted;	     /* taken over from another server */
	int claimed;	     /* by the line of the configuration that made it */
	int rests;	     /* it is quiesced until somebody resumes it */
	int can_rest;	     /* so that the driver can do */
	int waited;	     /* for a dead server, and it was told */
	int doomed;	     /* stop it as soon as it is started */
	int disowned;	     /* then: nobody is to hear why it is not live */
	int refusal;	     /* a FETCH's negative errno, or 0 */
	int unsent;	     /* why the keeper could not be asked, likewise */
	unsigned open_files; /* that are being closed */
	uint64_t told_tally; /* its target's, as the keeper was told it, */
	int telling;	     /* and has not answered yet */
	device_reopen *reopen; /* while the target is a stand-in (lost.h) */
	int reopening;	       /* and that has not ended yet */
	enum stuck stuck;
	enum taken taken;
	const char *told_state; /* the last that was, or NULL */
	char *why;		/* it is lost, or NULL: not told yet */
	double pause;		/* s, from its next loss to the next try, */
	double next_try;	/* which is at that loop_now() */
	struct loop_timer timer;
	double deadline;	 /* as loop_now() */
	char *new_words;	 /* that the keeper is to note, */
	int claims;		 /* and that the configuration has them */
	uint64_t new_size;	 /* bytes, while it is resized; else 0 */
	uint32_t new_unserved;	 /* its geometry's, then */
	struct failure *failure; /* of what is under way, or NULL */
	device_done *done;
	void *context;
	device_done *also_done; /* who has hurried another's delete, or deletes
				 * by force what another command works on */
	void *also_context;
};

/* What has changed of a device, for whoever watches. */
enum device_change {
	DEVICE_CHANGE_STATE,
	DEVICE_CHANGE_GONE, /* it is, or it gives its number back */
	DEVICE_CHANGE_SIZE,
	DEVICE_CHANGE_FAULTS, /* and limits */
	DEVICE_CHANGE_STALL,  /* its `stuck` */
};

/* All devices of a server. */
struct device_set {
	struct ev_loop *loop;
	struct channel *channel; /* to the keeper */
	struct device *first;	 /* sorted by id, those without at last */
	unsigned count;		 /* that are not deleted */
	uint64_t features;	 /* of the driver, 0: not known yet */
	uint64_t next_serial;
	uint64_t seq; /* grows with every step of a device */
	void (*on_empty)(struct device_set *set); /* may be NULL */
	/* A device has changed, which has got its seq; likewise. */
	void (*on_change)(void *watcher, const struct device *device,
			  enum device_change what);
	void *watcher;
};

/* It gets a number, and who watches is told. */
void device_changed(const struct device *device, enum device_change what);

/* How many are in the set; those that linger as well, which `count` has not. */
unsigned device_set_size(const struct device_set *set) __attribute__((cold));

struct device *device_find(struct device_set *set, uint32_t id);
struct device *device_find_serial(struct device_set *set, uint64_t serial);

/* One that is deleted, and lingers, only if no other one has the name. */
struct device *device_find_name(struct device_set *set, const char *name);

/* "ublkb0" or the name it was given. */
const char *device_name(const struct device *device);

/* Requests that the server holds. */
unsigned device_owned(const struct device *device);

/* Requests that were answered before their backing had (io/late.h). */
unsigned device_late(const struct device *device) __attribute__((cold));

/* The size of /dev/ublkbN in bytes, or 0 if that cannot be told. */
uint64_t device_disk_size(uint32_t id);

/*
 * Seconds until a lost device is tried again, or a negative number: there is no
 * time for that, or it is being tried.
 */
double device_retry_in(const struct device *device);

/*
 * Begin to close the files of the spec's target, and to remove the one that was
 * made for it. Returns how many calls of closed will follow.
 */
unsigned device_close_files(struct device_spec *spec, struct ev_loop *loop,
			    opener_ended *closed, void *context);

/* Close and free what the spec holds; its files likewise. */
unsigned device_close_spec(struct device_spec *spec, struct ev_loop *loop,
			   opener_ended *closed, void *context);

/* ---- the driver ---- */

/* How the data of a device with these flags moves; and flags for a mode. */
enum io_mode device_mode(uint64_t flags);
uint64_t device_mode_flags(enum io_mode mode);

/* Whether a device with these flags has commands for many requests. */
int device_batch(uint64_t flags);

/* As features_abort_on_close(), of the device's driver. */
int device_aborts_on_close(const struct device *device);

/* What to tell when the control device cannot be used, from a negative errno. */
void device_driver_failure(int error, struct failure *failure);

/*
 * The driver lacks something: why begins with what it does ("cannot ..."), arg
 * may be NULL. Returns -1, *failure is filled.
 */
int device_driver_lacks(struct failure *failure, const char *arg,
			const char *why);

/*
 * Take the driver's features as known. Returns 0, or -1 with *failure filled
 * when no device can be served with them.
 */
int device_set_features(struct device_set *set, uint64_t features,
			struct failure *failure);

/* ---- what the keeper is told ---- */

/*
 * Tell a keeper of the rings of a device's queues, if the driver needs that they
 * are held (rings.h); it lets go of them with the next command for the device.
 * Returns 0 or a negative errno: then a server's end is as it would be without.
 */
int device_send_rings(const struct device *device, struct channel *channel)
	__attribute__((cold));

/*
 * Tell somebody a device's tally (target.h), unless that is 0. Returns 0 or a
 * negative errno.
 */
int device_send_tally(const struct device *device, struct channel *channel)
	__attribute__((cold));

/* A device that is being taken over had that tally in the server before. */
void device_take_tally(struct device_set *set, uint32_t id, uint64_t tally);

/* The keeper has written the tally down. */
void device_tally_is_told(struct device *device);

/* ---- for the steps: what a function returns as a step is what follows ---- */

/*
 * A device of the set, with the spec's target and words, which are taken also on
 * failure; its timer is the caller's. NULL: out of memory, *failure is filled.
 */
struct device *device_new(struct device_set *set,
			  const struct device_spec *spec,
			  void (*fire)(struct loop_timer *timer),
			  struct failure *failure) __attribute__((cold));

/* Another server's device has its true target and layers, of the spec. */
void device_take_target(struct device *device, const struct device_spec *spec)
	__attribute__((cold));

/* The number that the driver has given it; DEVICE_ID_ANY: it has none again. */
void device_set_id(struct device *device, uint32_t id) __attribute__((cold));

/*
 * Who waits for its end is told, and it does not count any more. The caller's set
 * may be done with when this returns.
 */
void device_tell_end(struct device *device) __attribute__((cold));

/* Its files are closed: that, unless it was told before; and free it. */
enum device_step device_free(struct device *device) __attribute__((cold));

/*
 * Where the failure of what is under way is put: the device has one from this on.
 * Devices for which there is no memory share one, with the last one's words.
 */
struct failure *device_failure(struct device *device);

/* What was under way has ended, or nobody is to be told that it has failed. */
void device_forget_failure(struct device *device);

/* The step has failed, from a negative errno; the words for it are the table's. */
enum device_step device_fail(struct device *device, int error);

/*
 * Tell whoever waits for the device, the first if there are two; failure is NULL
 * on success.
 */
void device_tell(struct device *device, const struct failure *failure);

/*
 * Nothing is under way any more: whoever waited for that is told. The device is
 * stopped then if it has been forced meanwhile.
 */
enum device_step device_rest(struct device *device) __attribute__((cold));

/* A message about the device, to be filled in. */
struct message device_message(const struct device *device, uint32_t type);

/* Send it; the answer goes to the step, as a failure to send does. */
enum device_step device_ask(struct device *device,
			    const struct message *message);

/* The same with nothing to fill in. */
enum device_step device_ask_simple(struct device *device, uint32_t type)
	__attribute__((cold));

/* The keeper is to note the device, and to have what its target holds. */
enum device_step device_ask_note(struct device *device);

/* The keeper is to note new_words as the command that makes the device. */
enum device_step device_ask_new_words(struct device *device);

/* The command that the keeper runs for it ends with -EINTR. */
void device_cancel_command(struct device *device) __attribute__((cold));

/* The queues, but for what needs the char device. Returns 0 or a negative errno. */
int device_open_queues(struct device *device) __attribute__((cold));

/* Requests of its queues can be late (io/late.h) now. Returns 0 or -ENOMEM. */
int device_allow_late(struct device *device);

/* Close its queues and the char device, as far as they are open. */
void device_close_queues(struct device *device);

/* Call the step's timer after so many seconds. */
void device_start_timer(struct device *device, double after);

/*
 * Call the step's timer after interval seconds. Returns 0, or -1 and does not
 * behind the device's deadline.
 */
int device_retry(struct device *device, double interval);

#endif
