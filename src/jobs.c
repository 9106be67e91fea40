#include "jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carry.h"
#include "feature.h"
#include "log.h"
#include "notify.h"
#include "server.h"
#include "takeover.h"
#include "usage.h"

#define RING_ENTRIES	256
#define REAP_MAX	64
#define QUIESCED_MOMENT 20	  /* ms */
#define DEVICE_MARK	0x7562ULL /* top of server_flags in our devices */
#define CLOSE_PATIENCE	30.0	  /* s for what a deleted device held */

/* The stages of a RECOVER. */
enum { RECOVER_LOOK, RECOVER_MOMENT, RECOVER_ASKED };

/* What becomes of a device that no server will take over. */
enum clean_up { CLEAN_UP_NO, CLEAN_UP_STOP, CLEAN_UP_DELETE };

/*
 * A device that exists in the driver, or is about to. At most one job of a
 * device is under way, except that a START can be cancelled.
 */
struct entry {
	struct entry *next;
	uint32_t id;
	struct job *job;
	enum clean_up clean_up; /* the next step, when its server is dead */
	int live;		/* it has been started */
	int deleting;	 /* somebody began to stop it: that is finished */
	int taking;	 /* its take-over began, and no tag may be fetched */
	int private;	 /* its files are removed with it */
	int recoverable; /* the driver holds it for the next server ... */
	char *words;	 /* ... which gets the command that made it, */
	int fds[MESSAGE_MAX_FDS]; /* what its target holds, */
	int fd_count;
	struct ublk_dev_info info; /* and what the driver accepted */
	uint64_t tally;		   /* of its target */
};

/* One request of the server, or of the clean-up, until its answer. */
struct job {
	struct jobs *jobs;
	struct entry *entry;	/* NULL for FEATURES */
	unsigned generation;	/* of the server that asked; 0: the clean-up */
	struct message message; /* arguments live here while it runs */
	int stage;
	int fd;
	char path[64];
	char bytes[16];
	const int *fds; /* beside the message, only while the job begins */
	int fd_count;
	unsigned closing;  /* of what the device held, when it is deleted */
	int result;	   /* then: of the command itself */
	ev_timer patience; /* then */
};

static void advance_orphan(struct jobs *jobs, struct entry *entry);

/* ---- the table of devices ---- */

static struct entry *entry_find(const struct jobs *jobs, uint32_t id)
{
	struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (entry->id == id)
			return entry;
	return NULL;
}

static struct entry *entry_new(struct jobs *jobs, uint32_t id)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->id = id;
	entry->next = jobs->entries;
	jobs->entries = entry;
	return entry;
}

/* A file that nobody needs without its device. */
static void remove_file(int fd)
{
	struct state_file file;

	state_describe_file(&file, fd);
	state_remove_file(&file);
}

/* A service manager keeps them for when all of ublkd is killed. */
static void store_fds(const struct entry *entry)
{
	char name[40];
	int i, error;

	for (i = 0; i < entry->fd_count; i++) {
		takeover_name(name, sizeof(name), entry->id, i);
		/* What was spared of an earlier device with that id. */
		notify_unstore(name);
		error = notify_store(name, entry->fds[i]);
		if (error)
			log_warning("the service manager does not keep what "
				    "device %u holds: %s",
				    entry->id, strerror(-error));
	}
}

static void unstore_fds(const struct entry *entry)
{
	char name[40];
	int i;

	for (i = 0; i < entry->fd_count; i++) {
		takeover_name(name, sizeof(name), entry->id, i);
		notify_unstore(name);
	}
}

/* Returns 1 if a completion with that data tells that it is closed, or 0. */
static unsigned begin_close(struct jobs *jobs, int fd, uint64_t data)
{
	if (ring_put_close(jobs->control.ring, fd, data) == 0)
		return 1;
	close(fd);
	return 0;
}

/* Returns how many completions with that data tell that it is closed. */
static unsigned let_go(struct jobs *jobs, struct entry *entry, uint64_t data)
{
	unsigned begun = 0;

	unstore_fds(entry);
	while (entry->fd_count) {
		int fd = entry->fds[--entry->fd_count];

		if (entry->private)
			remove_file(fd);
		begun += begin_close(jobs, fd, data);
	}
	return begun;
}

static void entry_free(struct jobs *jobs, struct entry *entry)
{
	struct entry **at = &jobs->entries;

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	/* Last, so that a later keeper can finish what this one began. */
	state_remove(jobs->state, entry->id);
	free(entry->words);
	free(entry);
}

/* ---- jobs: one operation for each type of message ---- */

static uint64_t job_data(struct job *job)
{
	return (uint64_t)(uintptr_t)job;
}

static void submit(struct jobs *jobs)
{
	if (ring_submit(jobs->control.ring) < 0)
		ring_raise_event(jobs->control.ring); /* again next turn */
}

/* What is still being closed for it comes to nobody's notice, but to it. */
static void job_free(struct job *job)
{
	if (job->entry)
		job->entry->job = NULL;
	job->entry = NULL;
	if (!job->closing)
		free(job);
}

static void see_idle(struct jobs *jobs)
{
	if (!jobs_are_busy(jobs))
		jobs->idle(jobs);
}

/* Whether that was the end of the job's device. */
static int was_last(const struct job *job, int result)
{
	if (!job->entry)
		return 0;
	if (job->message.type == MESSAGE_ADD)
		return result < 0;
	if (job->message.type != MESSAGE_DELETE)
		return 0;
	if (result == 0 || result == -ENODEV)
		return 1;
	if (!job->entry->clean_up)
		return 0;
	log_error("device %u cannot be deleted: %s", job->entry->id,
		  strerror(-result));
	return 1;
}

/*
 * Answer a job whose server still lives, then see what its device needs. With
 * is_last the device is gone.
 */
static void job_finish(struct job *job, int result, int is_last)
{
	struct jobs *jobs = job->jobs;
	struct entry *entry = job->entry;
	int is_old = job->generation != jobs->generation;

	if (is_last) {
		/* Before it is told: what it held is free then. */
		entry_free(jobs, entry);
		job->entry = entry = NULL;
	}
	job->message.result = result;
	if (!is_old)
		jobs->answer(jobs, &job->message);
	/* The server that asked died meanwhile: what it began is finished. */
	if (entry && is_old && !entry->clean_up &&
	    (entry->taking ||
	     (job->message.type == MESSAGE_TRY_STOP && entry->deleting)))
		entry->clean_up = CLEAN_UP_STOP;
	job_free(job);
	if (entry && entry->clean_up)
		advance_orphan(jobs, entry);
	see_idle(jobs);
}

/* The device's end is told all the same. */
static void on_close_patience(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct job *job = timer->data;

	(void)loop;
	(void)events;
	log_warning("device %u is deleted, but what it held is not closed "
		    "within %g s: its file system or disk stands still",
		    job->entry->id, CLOSE_PATIENCE);
	job->jobs->late++;
	job_finish(job, job->result, 1);
}

/*
 * The device is gone. With a dead server this is the last close of what it held,
 * which can wait for a disk, and on a network every close can. Returns 1 if the
 * job ends when that is done.
 */
static int begin_closing(struct job *job, int result)
{
	struct jobs *jobs = job->jobs;

	job->closing = let_go(jobs, job->entry, job_data(job));
	if (!job->closing)
		return 0;
	job->result = result;
	ev_timer_init(&job->patience, on_close_patience, CLOSE_PATIENCE, 0);
	job->patience.data = job;
	ev_timer_start(jobs->loop, &job->patience);
	submit(jobs);
	return 1;
}

static void on_closed(struct job *job)
{
	if (--job->closing)
		return;
	ev_timer_stop(job->jobs->loop, &job->patience);
	if (job->entry) {
		job_finish(job, job->result, 1);
		return;
	}
	job->jobs->late--;
	see_idle(job->jobs);
	free(job); /* it has ended without */
}

static void job_end(struct job *job, int result)
{
	int is_last = was_last(job, result);

	if (!is_last || !begin_closing(job, result))
		job_finish(job, result, is_last);
}

static int begin_features(struct job *job)
{
	struct control *control = &job->jobs->control;
	int error = control_open(control);

	if (error)
		return error;
	return control_get_features(control, &job->message.number,
				    job_data(job));
}

static int end_features(struct job *job, int result)
{
	if (result == 0)
		job->jobs->features = job->message.number;
	return result;
}

static int begin_add(struct job *job)
{
	job->message.info.server_flags = job->jobs->mark;
	return control_add(&job->jobs->control, &job->message.info,
			   job_data(job));
}

static int end_add(struct job *job, int result)
{
	if (result == 0) {
		job->entry->id = job->message.id = job->message.info.dev_id;
		job->entry->info = job->message.info;
	}
	return result;
}

static int keep_fds(struct entry *entry, const int *fds, int count)
{
	for (; entry->fd_count < count; entry->fd_count++) {
		int fd = fcntl(fds[entry->fd_count], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		entry->fds[entry->fd_count] = fd;
	}
	return 0;
}

/*
 * Note it for a keeper that comes after this one. Files of ours get their names
 * when that is done, and not before: else one would stay for ever if we were
 * killed in between.
 */
static int write_state(const struct jobs *jobs, const struct entry *entry,
		       int is_first)
{
	struct state_device device = { .id = entry->id,
				       .recoverable = entry->recoverable,
				       .private = entry->private,
				       .mark = entry->info.server_flags,
				       .tally = entry->tally,
				       .file_count = entry->fd_count };
	int i, error;

	for (i = 0; i < entry->fd_count; i++)
		state_describe_file(&device.files[i], entry->fds[i]);
	snprintf(device.words, sizeof(device.words), "%s", entry->words);
	error = state_write(jobs->state, &device);
	for (i = 0; is_first && entry->private && i < entry->fd_count && !error;
	     i++)
		error = state_link_file(&device.files[i], entry->fds[i]);
	return error;
}

/*
 * Keep what the next server will need. Done at once. Later notes bring new
 * words alone: the descriptors stay.
 */
static int begin_note(struct job *job)
{
	struct entry *entry = job->entry;
	char *words;
	int error;

	if (job->fd_count > (entry->words ? 0 : MESSAGE_MAX_FDS))
		return -EINVAL;
	words = strdup(job->message.text);
	if (!words)
		return -ENOMEM;
	free(entry->words);
	entry->words = words;
	entry->recoverable = (job->message.number & NOTE_RECOVERABLE) != 0;
	entry->private = (job->message.number & NOTE_PRIVATE) != 0;
	error = keep_fds(entry, job->fds, job->fd_count);
	if (!error && job->fd_count)
		store_fds(entry);
	if (!error)
		error = write_state(job->jobs, entry, job->fd_count > 0);
	return error ? error : 1;
}

static int begin_params(struct job *job)
{
	return control_set_params(&job->jobs->control, job->message.id,
				  &job->message.params, job_data(job));
}

static int begin_start(struct job *job)
{
	return control_start(&job->jobs->control, job->message.id,
			     job->jobs->server, job_data(job));
}

static int end_start(struct job *job, int result)
{
	job->entry->live = result == 0 && !job->entry->clean_up;
	return result;
}

static int is_old_driver(const struct jobs *jobs)
{
	return !features_abort_on_close(jobs->features);
}

static int start_recovery(struct job *job)
{
	job->stage = RECOVER_ASKED;
	return control_start_recovery(&job->jobs->control, job->message.id,
				      job_data(job));
}

/*
 * An old driver cancels the dead server's commands after it has called the
 * device quiesced, and a RECOVER in between takes them away under its hands,
 * which the kernel does not survive. So it is not asked before it says so, and
 * then gets a moment.
 */
static int begin_recover(struct job *job)
{
	if (!is_old_driver(job->jobs))
		return start_recovery(job);
	job->stage = RECOVER_LOOK;
	return control_get_info(&job->jobs->control, job->message.id,
				&job->message.info, job_data(job));
}

static int go_on_recovering(struct job *job, int result)
{
	if (job->stage == RECOVER_LOOK && result < 0)
		return result;
	if (job->stage == RECOVER_LOOK &&
	    job->message.info.state == UBLK_S_DEV_LIVE)
		return -EBUSY;
	/* Once it has begun there is no way back for a server that is dead. */
	if (job->generation != job->jobs->generation)
		return -ECANCELED;
	if (job->stage == RECOVER_MOMENT)
		return start_recovery(job);
	job->stage = RECOVER_MOMENT;
	return ring_put_timeout(job->jobs->control.ring, QUIESCED_MOMENT,
				job_data(job));
}

/*
 * Before this driver aborted I/O on close it also broke when a server died
 * between the two commands of a take-over: the next RECOVER is refused, or
 * worse. Such a device cannot be saved.
 */
static int end_recover(struct job *job, int result)
{
	if (job->stage != RECOVER_ASKED) {
		result = go_on_recovering(job, result);
		return result < 0 ? result : 1;
	}
	job->entry->taking = result == 0 && is_old_driver(job->jobs);
	/* For the next keeper as well. */
	if (job->entry->taking)
		state_doom(job->jobs->state, job->entry->id);
	return result;
}

static int begin_end_recover(struct job *job)
{
	if (job->entry->taking)
		state_spare(job->jobs->state, job->entry->id);
	job->entry->taking = 0; /* every tag is fetched */
	return control_end_recovery(&job->jobs->control, job->message.id,
				    job->jobs->server, job_data(job));
}

/*
 * The write waits for the disk's I/O on some kernels (it freezes the queue), so
 * it goes through the ring like the rest; and a device that is taken over has
 * what an earlier server wrote, and I/O that may take long: the read tells.
 */
static int begin_timeout(struct job *job)
{
	int error;

	snprintf(job->path, sizeof(job->path),
		 "/sys/block/ublkb%u/queue/io_timeout", job->message.id);
	job->fd = open(job->path, O_RDWR | O_CLOEXEC);
	if (job->fd < 0)
		return -errno;
	error = ring_put_read(job->jobs->control.ring, job->fd, job->bytes,
			      sizeof(job->bytes) - 1, job_data(job));
	if (error)
		close(job->fd);
	return error;
}

static int write_timeout(struct job *job)
{
	int length = snprintf(job->bytes, sizeof(job->bytes), "%u",
			      (unsigned)job->message.number);

	job->stage = 1;
	return ring_put_write(job->jobs->control.ring, job->fd, job->bytes,
			      (size_t)length, job_data(job));
}

static int end_timeout(struct job *job, int result)
{
	/* The bytes are zeroes behind what was read. */
	if (job->stage == 0 && result > 0) {
		result = 0;
		if (strtoul(job->bytes, NULL, 10) != job->message.number)
			result = write_timeout(job);
		if (result == 0 && job->stage == 1)
			return 1;
	}
	close(job->fd);
	return result < 0 ? result : 0;
}

/*
 * Is the disk in use? /proc and /sys name most users; the exclusive open sees
 * those that hold it in other ways, such as a mount in another namespace. It
 * runs on the ring, because opening a disk can wait for its I/O.
 */
static int begin_busy(struct job *job)
{
	char disk[32];

	snprintf(disk, sizeof(disk), "ublkb%u", job->message.id);
	job->message.text[0] = '\0';
	job->message.number = 0;
	switch (usage_find(disk, job->message.text,
			   sizeof(job->message.text))) {
	case USAGE_LASTING:
		job->message.number = 1;
		return -EBUSY;
	case USAGE_OPEN:
		return -EBUSY;
	default:
		break;
	}
	snprintf(job->path, sizeof(job->path), "/dev/%s", disk);
	return ring_put_open(job->jobs->control.ring, job->path,
			     O_RDONLY | O_EXCL | O_CLOEXEC, 0, job_data(job));
}

static int end_busy(struct job *job, int result)
{
	if (job->stage == 1)
		return 0;
	if (result == -EBUSY)
		snprintf(job->message.text, sizeof(job->message.text),
			 "held exclusively");
	if (result < 0)
		return result == -ENOENT || result == -ENXIO ? 0 : result;
	job->stage = 1;
	/* The last close can wait for I/O as well. */
	if (ring_put_close(job->jobs->control.ring, result, job_data(job)) <
	    0) {
		close(result);
		return 0;
	}
	return 1;
}

static int begin_try_stop(struct job *job)
{
	return control_try_stop(&job->jobs->control, job->message.id,
				job_data(job));
}

static int end_try_stop(struct job *job, int result)
{
	/* Until it is known, a dead server's device is neither. */
	job->entry->deleting = result != -EBUSY;
	if (job->entry->deleting)
		state_doom(job->jobs->state, job->entry->id);
	return result;
}

static int begin_resize(struct job *job)
{
	return control_update_size(&job->jobs->control, job->message.id,
				   job->message.number, job_data(job));
}

static int begin_stop(struct job *job)
{
	job->entry->deleting = 1;
	state_doom(job->jobs->state, job->entry->id);
	return control_stop(&job->jobs->control, job->message.id,
			    job_data(job));
}

/*
 * A disk that is deleted by force may stay open, a mount for instance, for as
 * long as its user likes: that must hold up nobody.
 */
static int begin_delete(struct job *job)
{
	struct control *control = &job->jobs->control;

	if (job->message.number && job->stage == 0)
		return control_delete_async(control, job->message.id,
					    job_data(job));
	return control_delete(control, job->message.id, job_data(job));
}

/*
 * Interrupted, it had done all but wait for the id; cancelled, it had not begun.
 * Kernels before 6.7 only know the command that waits.
 */
static int end_delete(struct job *job, int result)
{
	if (result == -EINTR)
		return 0;
	if (result == -ECANCELED) {
		job->message.number = 1;
		return begin_delete(job) < 0 ? result : 1;
	}
	if (result != -EOPNOTSUPP || !job->message.number || job->stage)
		return result;
	job->stage = 1;
	return begin_delete(job) < 0 ? result : 1;
}

static const struct operation {
	/* Returns 0 under way, 1 done at once, or a negative errno. */
	int (*begin)(struct job *job);
	/* NULL: the result as it is. Returns 1 while the job goes on. */
	int (*end)(struct job *job, int result);
} operations[] = {
	[MESSAGE_FEATURES] = { begin_features, end_features },
	[MESSAGE_ADD] = { begin_add, end_add },
	[MESSAGE_PARAMS] = { begin_params, NULL },
	[MESSAGE_NOTE] = { begin_note, NULL },
	[MESSAGE_START] = { begin_start, end_start },
	[MESSAGE_RECOVER] = { begin_recover, end_recover },
	[MESSAGE_END_RECOVER] = { begin_end_recover, NULL },
	[MESSAGE_TIMEOUT] = { begin_timeout, end_timeout },
	[MESSAGE_BUSY] = { begin_busy, end_busy },
	[MESSAGE_TRY_STOP] = { begin_try_stop, end_try_stop },
	[MESSAGE_STOP] = { begin_stop, NULL },
	[MESSAGE_DELETE] = { begin_delete, end_delete },
	[MESSAGE_RESIZE] = { begin_resize, NULL },
};

static void job_begin(struct job *job)
{
	struct jobs *jobs = job->jobs;
	int result;

	if (job->entry)
		job->entry->job = job;
	result = operations[job->message.type].begin(job);
	if (result)
		job_end(job, result < 0 ? result : 0);
	else
		submit(jobs);
}

static struct job *job_new(struct jobs *jobs, struct entry *entry,
			   uint32_t type)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->jobs = jobs;
	job->entry = entry;
	job->message.magic = MESSAGE_MAGIC;
	job->message.type = type;
	job->message.id = entry ? entry->id : 0;
	return job;
}

static void on_ring(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct jobs *jobs = watcher->data;
	struct ring *ring = jobs->control.ring;
	struct ring_event done[REAP_MAX];
	unsigned count, i;

	(void)loop;
	(void)events;
	ring_clear_event(ring);
	count = ring_reap(ring, done, REAP_MAX);
	for (i = 0; i < count; i++) {
		struct job *job = (struct job *)(uintptr_t)done[i].data;
		const struct operation *operation;
		int result = done[i].result;

		if (!job)
			continue; /* the answer to a cancel, for instance */
		if (job->closing) {
			on_closed(job);
			continue;
		}
		operation = &operations[job->message.type];
		if (operation->end)
			result = operation->end(job, result);
		if (result <= 0)
			job_end(job, result);
	}
	submit(jobs);
	if (count == REAP_MAX)
		ring_raise_event(ring);
}

/*
 * End a START or END_RECOVER that waits for tags which nobody will fetch, or a
 * DELETE that waits for somebody to close the dead disk.
 */
static void cancel_wait(struct jobs *jobs, struct entry *entry)
{
	if (!entry || !entry->job || entry->job->closing ||
	    (entry->job->message.type != MESSAGE_START &&
	     entry->job->message.type != MESSAGE_END_RECOVER &&
	     entry->job->message.type != MESSAGE_DELETE))
		return;
	if (ring_put_cancel(jobs->control.ring, job_data(entry->job), 0) < 0)
		log_error("device %u: a command that waits cannot be cancelled",
			  entry->id);
	submit(jobs);
}

/* ---- devices whose server is dead ---- */

/* The next step for an orphan that has no job: stop it, then delete it. */
static void advance_orphan(struct jobs *jobs, struct entry *entry)
{
	uint32_t type = entry->clean_up == CLEAN_UP_STOP ? MESSAGE_STOP
							 : MESSAGE_DELETE;
	struct job *job = job_new(jobs, entry, type);

	if (!job) {
		log_error("device %u cannot be deleted: out of memory",
			  entry->id);
		let_go(jobs, entry, 0);
		submit(jobs);
		entry_free(jobs, entry);
		return;
	}
	entry->clean_up = CLEAN_UP_DELETE;
	job->message.number = 1;
	job_begin(job);
}

/*
 * Stop and delete what a dead server leaves. A START that waits for tags which
 * nobody will fetch must be cancelled first: STOP and DEL would wait for it.
 */
static void orphan(struct jobs *jobs, struct entry *entry)
{
	entry->clean_up = CLEAN_UP_STOP;
	if (!entry->job)
		advance_orphan(jobs, entry);
	else
		cancel_wait(jobs, entry);
}

/*
 * A look or a setting that a dead server asked for can wait for the very I/O
 * that the next server must answer: it goes on without its device.
 */
static void detach(struct entry *entry)
{
	struct job *job = entry->job;

	if (!job || (job->message.type != MESSAGE_TIMEOUT &&
		     job->message.type != MESSAGE_BUSY))
		return;
	job->entry = NULL;
	entry->job = NULL;
}

/* Whether the next server can take it over, with nothing lost. */
static int can_wait(const struct entry *entry)
{
	return entry->live && entry->recoverable && !entry->deleting &&
	       !entry->taking;
}

void jobs_server_gone(struct jobs *jobs, int replaced, unsigned *kept,
		      unsigned *deleted)
{
	struct entry *entry, *next;

	*kept = *deleted = 0;
	for (entry = jobs->entries; entry; entry = next) {
		next = entry->next;
		if (entry->clean_up)
			continue;
		detach(entry);
		if (replaced && can_wait(entry)) {
			++*kept;
			cancel_wait(jobs, entry);
			continue;
		}
		++*deleted;
		orphan(jobs, entry);
	}
}

void jobs_log_users(struct jobs *jobs)
{
	const struct entry *entry;
	char disk[32], who[200];

	for (entry = jobs->entries; entry; entry = entry->next) {
		snprintf(disk, sizeof(disk), "ublkb%u", entry->id);
		if (!entry->clean_up &&
		    usage_find(disk, who, sizeof(who)) != USAGE_NONE)
			log_warning("%s is stopped while it is in use: %s",
				    disk, who);
	}
}

void jobs_hurry(struct jobs *jobs)
{
	struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (entry->job && entry->job->message.type == MESSAGE_DELETE)
			cancel_wait(jobs, entry);
}

int jobs_take_tally(struct jobs *jobs, uint32_t id, uint64_t tally)
{
	struct entry *entry = entry_find(jobs, id);

	if (!entry)
		return -ENODEV;
	if (entry->tally == tally)
		return 0;
	entry->tally = tally;
	/* What is being deleted is noted as that, or not at all. */
	if (!entry->words || !can_wait(entry) || entry->clean_up)
		return 0;
	return write_state(jobs, entry, 0);
}

void jobs_close_file(struct jobs *jobs, int fd)
{
	begin_close(jobs, fd, 0);
	submit(jobs);
}

static int send_tally(const struct entry *entry, struct channel *channel)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_TALLY,
				   .id = entry->id,
				   .number = entry->tally };

	return entry->tally ? channel_send(channel, &message, NULL, 0) : 0;
}

static int hand_over(const struct entry *entry, struct channel *channel)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_DEVICE,
				   .id = entry->id,
				   .info = entry->info };

	snprintf(message.text, sizeof(message.text), "%s", entry->words);
	return channel_send(channel, &message, entry->fds, entry->fd_count);
}

int jobs_hand_over(struct jobs *jobs, struct channel *channel)
{
	const struct entry *entry;
	int error;

	for (entry = jobs->entries; entry; entry = entry->next) {
		if (entry->clean_up || !can_wait(entry))
			continue;
		error = hand_over(entry, channel);
		if (!error)
			error = send_tally(entry, channel);
		if (error)
			return error;
	}
	return 0;
}

int jobs_carry(const struct jobs *jobs)
{
	const struct entry *entry;
	char name[40];
	int i, error = 0;

	for (entry = jobs->entries; entry && !error; entry = entry->next)
		for (i = 0; i < entry->fd_count && !error; i++) {
			takeover_name(name, sizeof(name), entry->id, i);
			error = carry_put(name, entry->fds[i]);
		}
	return error;
}

/* ---- from outside ---- */

int jobs_can_run(uint32_t type)
{
	return type == MESSAGE_CANCEL ||
	       (type < sizeof(operations) / sizeof(operations[0]) &&
		operations[type].begin);
}

/* A request for a control command: find its device, make a job, run it. */
void jobs_run(struct jobs *jobs, const struct message *message, const int *fds,
	      int fd_count)
{
	struct message answer = *message;
	struct entry *entry = NULL;
	struct job *job;

	if (message->type == MESSAGE_CANCEL) {
		cancel_wait(jobs, entry_find(jobs, message->id));
		return;
	}
	if (message->type == MESSAGE_ADD)
		entry = entry_new(jobs, UINT32_MAX);
	else if (message->type != MESSAGE_FEATURES)
		entry = entry_find(jobs, message->id);
	answer.result = -ENODEV;
	if (!entry && message->type != MESSAGE_FEATURES)
		goto refuse;
	answer.result = -EBUSY;
	if (entry && (entry->job || entry->clean_up))
		goto refuse;
	answer.result = -ENOMEM;
	job = job_new(jobs, entry, message->type);
	if (!job)
		goto refuse;
	job->message = *message;
	job->generation = jobs->generation;
	job->fds = fds;
	job->fd_count = fd_count;
	job_begin(job);
	return;
refuse:
	jobs->answer(jobs, &answer);
}

/* Devices carry this, so that a later keeper on the same socket knows them. */
static uint64_t path_mark(const char *path)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	while (*path)
		hash = (hash ^ (unsigned char)*path++) * 16777619u;
	return DEVICE_MARK << 48 | hash;
}

int jobs_are_busy(const struct jobs *jobs)
{
	const struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (entry->job || entry->clean_up || entry->deleting ||
		    !entry->live)
			return 1;
	/* This process could neither end nor become another program. */
	return jobs->late > 0;
}

static int has_requests(uint32_t id)
{
	unsigned long reads = 0, writes = 0;
	char path[48], text[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/ublkb%u/inflight", id);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return sscanf(text, "%lu %lu", &reads, &writes) == 2 &&
	       reads + writes > 0;
}

int jobs_have_requests(const struct jobs *jobs)
{
	const struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (entry->live && has_requests(entry->id))
			return 1;
	return 0;
}

int jobs_have_devices(const struct jobs *jobs)
{
	const struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (!entry->clean_up)
			return 1;
	return 0;
}

int jobs_has(const struct jobs *jobs, uint32_t id)
{
	return entry_find(jobs, id) != NULL;
}

int jobs_restore(struct jobs *jobs, const struct ublk_dev_info *info,
		 const struct state_device *noted, int doomed, const int *fds,
		 int fd_count)
{
	struct entry *entry = entry_new(jobs, info->dev_id);

	if (!entry) {
		channel_close_fds(fds, fd_count);
		return -ENOMEM;
	}
	entry->info = *info;
	entry->clean_up = doomed ? CLEAN_UP_STOP : CLEAN_UP_NO;
	entry->live = entry->recoverable = !doomed;
	entry->private = noted && noted->private;
	entry->fd_count = fd_count;
	if (fd_count)
		memcpy(entry->fds, fds, sizeof(int) * (size_t)fd_count);
	entry->words = strdup(noted ? noted->words : "");
	/* Without its words nobody can serve it. */
	if (!entry->words)
		entry->clean_up = CLEAN_UP_STOP;
	return entry->words ? 0 : -ENOMEM;
}

void jobs_clean_up(struct jobs *jobs)
{
	struct entry *entry, *next;

	for (entry = jobs->entries; entry; entry = next) {
		next = entry->next;
		if (entry->clean_up == CLEAN_UP_STOP && !entry->job)
			advance_orphan(jobs, entry);
	}
}

void jobs_set_server(struct jobs *jobs, pid_t server)
{
	jobs->server = server;
	jobs->generation++;
}

int jobs_open(struct jobs *jobs, struct ev_loop *loop, const char *path,
	      struct state *state, jobs_answer *answer, jobs_idle *idle,
	      void *owner)
{
	struct ring *ring;
	int error;

	memset(jobs, 0, sizeof(*jobs));
	jobs->control.fd = -1;
	jobs->loop = loop;
	jobs->mark = path_mark(path);
	jobs->state = state;
	jobs->answer = answer;
	jobs->idle = idle;
	jobs->owner = owner;
	ring = ring_create(RING_ENTRIES, RING_WIDE, &error);
	if (!ring)
		return error;
	jobs->control.ring = ring;
	/* A command each, and the close of what one before it held. */
	error = ring_allow_workers(ring, 2 * SERVER_MAX_DEVICES + 1);
	if (error < 0)
		log_warning("cannot allow more kernel workers: %s",
			    strerror(-error));
	ev_io_init(&jobs->watcher, on_ring, ring_event_fd(ring), EV_READ);
	jobs->watcher.data = jobs;
	ev_io_start(loop, &jobs->watcher);
	return 0;
}

/* Devices that stay, for the next keeper: only what we know of them goes. */
static void forget_all(struct jobs *jobs)
{
	struct entry *entry;

	while ((entry = jobs->entries)) {
		jobs->entries = entry->next;
		channel_close_fds(entry->fds, entry->fd_count);
		free(entry->job);
		free(entry->words);
		free(entry);
	}
}

void jobs_close(struct jobs *jobs)
{
	if (!jobs->control.ring)
		return;
	ev_io_stop(jobs->loop, &jobs->watcher);
	ring_destroy(jobs->control.ring);
	forget_all(jobs);
	if (jobs->control.fd >= 0)
		close(jobs->control.fd);
	jobs->control.ring = NULL;
	jobs->control.fd = -1;
}
