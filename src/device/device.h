/*
 * The life of a device: an explicit state machine from ADD_DEV to DEL_DEV.
 *
 * Every step asks the keeper for one control command, or waits for one thing,
 * and goes on when the answer comes; I/O is served meanwhile.
 */
#ifndef UBLKD_DEVICE_H
#define UBLKD_DEVICE_H

#include <stdint.h>

#include "base/channel.h"
#include "base/failure.h"
#include "layer/layer.h"
#include "io/queue.h"
#include "target/target.h"

#define DEVICE_NAME_MAX	 63
#define DEVICE_ID_ANY	 UINT32_MAX
#define DEVICE_SIZE_AUTO UINT64_MAX

enum device_step {
	DEVICE_FEATURES, /* ask what the driver can do */
	DEVICE_ADD,
	DEVICE_PARAMS,
	DEVICE_NOTE,	 /* give the keeper what the next server will need */
	DEVICE_PREPARED, /* another server's device, not taken over yet */
	DEVICE_GIVE,	 /* its file is open again: the keeper is to have it */
	DEVICE_RECOVER,	 /* begin to take it over */
	DEVICE_OPEN,	 /* the char device and its queues */
	DEVICE_START,
	DEVICE_END_RECOVER,
	DEVICE_TIMEOUT, /* lower the disk's I/O timeout (6.12) */
	DEVICE_NODE,	/* wait for /dev/ublkbN */
	DEVICE_LIVE,
	DEVICE_LOST, /* cannot be taken over yet; the driver holds its I/O */
	DEVICE_NOTE_AGAIN, /* its command has changed */
	DEVICE_TRIM,	   /* give back what lies behind its end */
	DEVICE_RESIZE,
	DEVICE_BUSY, /* is anybody using it? */
	DEVICE_TRY_STOP,
	DEVICE_STOP,
	DEVICE_DRAIN, /* wait until the driver gave up every tag */
	DEVICE_DELETE,
	DEVICE_RELEASE, /* gone from the kernel: give its memory back */
	DEVICE_CLOSE,	/* close its files */
	DEVICE_STEPS,
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
	int no_partscan;   /* the kernel is not to look for partitions */
	int batch;	   /* commands for many requests */
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

/*
 * Begin to close the files of the spec's target, and to remove the one that was
 * made for it. Returns how many calls of closed will follow.
 */
unsigned device_close_files(struct device_spec *spec, struct ev_loop *loop,
			    opener_ended *closed, void *context);

/* Close and free what the spec holds; its files likewise. */
unsigned device_close_spec(struct device_spec *spec, struct ev_loop *loop,
			   opener_ended *closed, void *context);

/*
 * An add or a delete has ended; failure is NULL on success. After a failed add
 * and a successful delete the target is closed, and the device is freed when
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
	struct device_spec spec; /* id, queues and depth as accepted */
	char disk[16];		 /* "ublkb0"; "" before it has an id */
	int fd;			 /* the char device, or -1 */
	struct queue *queues;	 /* spec.queues of them, once open */
	unsigned open_queues;
	uint32_t number;     /* that the driver is asked for */
	int picks_number;    /* and may choose another one */
	int skips;	     /* the one that it has, which is given back */
	unsigned tries;	     /* of other ones */
	int force;	     /* delete it whoever uses it */
	int seen_busy;	     /* somebody had it open when it was looked */
	int adopted;	     /* taken over from another server */
	int claimed;	     /* by the line of the configuration that made it */
	int waited;	     /* for a dead server, and it was told */
	int check_only;	     /* BUSY is all that was asked for */
	int doomed;	     /* stop it as soon as it is started */
	int disowned;	     /* then: nobody is to hear why it is not live */
	int refusal;	     /* a FETCH's negative errno, or 0 */
	unsigned open_files; /* that are being closed */
	uint64_t told_tally; /* its target's, as the keeper was told it, */
	int telling;	     /* and has not answered yet */
	device_reopen *reopen; /* while the target is a stand-in (lost.h) */
	int reopening;	       /* and that has not ended yet */
	enum taken taken;
	char why[200];	 /* it is lost, or "" */
	double pause;	 /* s, from its next loss to the next try, */
	double next_try; /* which is at that loop_now() */
	struct loop_timer timer;
	double deadline;	/* as loop_now() */
	char *new_words;	/* that the keeper is to note */
	uint64_t new_size;	/* bytes, while it is resized; else 0 */
	uint32_t new_unserved;	/* its geometry's, then */
	struct failure failure; /* why it is rolled back */
	device_done *done;
	void *context;
	device_done *also_done; /* who has hurried another's delete, or deletes
				 * by force what another command works on */
	void *also_context;
};

/* All devices of a server. */
struct device_set {
	struct ev_loop *loop;
	struct channel *channel; /* to the keeper */
	struct device *first;	 /* sorted by id, those without at last */
	unsigned count;
	uint64_t features; /* of the driver, 0: not known yet */
	uint64_t next_serial;
	uint64_t seq; /* grows with every change of state */
	void (*on_empty)(struct device_set *set); /* may be NULL */
};

/*
 * Begin to add a device. Takes the spec's target, layers and words, also on failure.
 * Returns 0 and calls done later, or returns -1 with *failure filled.
 */
int device_add(struct device_set *set, const struct device_spec *spec,
	       device_done *done, void *context, struct failure *failure);

/*
 * Prepare to take over a device that another server serves, or that the driver
 * holds since it died; device_recover_all() begins it. The
 * spec's id, queues, depth and max_io are the driver's. Takes the spec's target
 * and words, also on failure. Returns 0, or -1 with *failure filled.
 */
int device_adopt(struct device_set *set, const struct device_spec *spec,
		 struct failure *failure);

/*
 * Tell a keeper of the rings of a device's queues, if the driver needs that they
 * are held (rings.h); it lets go of them with the next command for the device.
 * Returns 0 or a negative errno: then a server's end is as it would be without.
 */
int device_send_rings(const struct device *device, struct channel *channel);

/*
 * Tell somebody a device's tally (target.h), unless that is 0. Returns 0 or a
 * negative errno.
 */
int device_send_tally(const struct device *device, struct channel *channel);

/* A device that is being taken over had that tally in the server before. */
void device_take_tally(struct device_set *set, uint32_t id, uint64_t tally);

/*
 * A device that was adopted has a stand-in as its target, for the reason `why`;
 * "": nobody has tried yet. reopen may be NULL: there is no way to open it here.
 */
void device_reopen_later(struct device *device, device_reopen *reopen,
			 const char *why);

/* A lost device's target has been opened: it takes the spec's over, and goes on. */
void device_reopened(struct device *device, struct device_spec *spec);

/* It could not be, for that reason; it is tried again after a while. */
void device_reopen_failed(struct device *device, const char *why);

/*
 * Its file is open again: fd is the device's from now on. reopen() is called
 * again when the keeper has it as well, and agrees that it is the right one.
 */
void device_give(struct device *device, int fd);

/*
 * Seconds until a lost device is tried again, or a negative number: there is no
 * time for that, or it is being tried.
 */
double device_retry_in(const struct device *device);

/* Begin to take over every device that is prepared. */
void device_recover_all(struct device_set *set);

/*
 * Put on the layers that the values need, see layers_put_on(); requests go
 * through them from now on. Returns 0 or -ENOMEM.
 */
int device_put_on(struct device *device, const struct option_value *values);

/*
 * Begin to replace the command that a live device is said to be made by, for
 * the next server as well. Takes the words, also on failure; they are the
 * device's once done is called without a failure. Returns 0, or -1 with
 * *failure filled.
 */
int device_note(struct device *device, char *words, device_done *done,
		void *context, struct failure *failure);

/*
 * Begin to change the size of a live device, in bytes; DEVICE_SIZE_AUTO: to
 * what its backing has now. The command that it is said to be made by changes
 * likewise. Returns 0 and calls done later, or returns -1 with *failure filled.
 */
int device_resize(struct device *device, uint64_t size, device_done *done,
		  void *context, struct failure *failure);

/*
 * Begin to delete a live device; without force it fails with SYMBOL_BUSY, and
 * the device goes on, if it is still in use after a second. With force it is
 * deleted whatever is under way with it: an add fails, a take-over ends in that,
 * a delete without force is forced from then on, and a resize that waits for its
 * backing ends. Returns 0 and calls done later, or returns -1 with *failure
 * filled, also when two wait for the same.
 */
int device_delete(struct device *device, int force, device_done *done,
		  void *context, struct failure *failure);

/*
 * Only ask whether a live device is in use: done gets SYMBOL_BUSY if so, and
 * the device stays either way.
 */
int device_check(struct device *device, device_done *done, void *context,
		 struct failure *failure);

/* Stop and delete every device, whatever it is doing. on_empty tells the end. */
void device_delete_all(struct device_set *set);

/* The keeper's answer to a device's message. */
void device_answer(struct device_set *set, const struct message *message);

/* The keeper is gone: what waits for its answer gets a failure. */
void device_keeper_gone(struct device_set *set);

struct device *device_find(struct device_set *set, uint32_t id);
struct device *device_find_serial(struct device_set *set, uint64_t serial);
struct device *device_find_name(struct device_set *set, const char *name);

/* How the data of a device with these flags moves. */
enum io_mode device_mode(uint64_t flags);

/* Whether a device with these flags has commands for many requests. */
int device_batch(uint64_t flags);

/* "ublkb0" or the name it was given. */
const char *device_name(const struct device *device);

/* adding, live, quiesced or deleting. */
const char *device_state(const struct device *device);

/*
 * What is under way with it, for a sentence: "being added", "being taken over".
 * NULL if it can be asked for something.
 */
const char *device_work(const struct device *device);

/* The size of /dev/ublkbN in bytes, or 0 if that cannot be told. */
uint64_t device_disk_size(uint32_t id);

/* Requests that the server holds. */
unsigned device_owned(const struct device *device);

/* What to tell when the control device cannot be used, from a negative errno. */
void device_driver_failure(int error, struct failure *failure);

/*
 * Take the driver's features as known. Returns 0, or -1 with *failure filled
 * when no device can be served with them.
 */
int device_set_features(struct device_set *set, uint64_t features,
			struct failure *failure);

#endif
