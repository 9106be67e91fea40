#include "jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/log.h"
#include "base/node.h"
#include "base/probe.h"
#include "entry.h"
#include "server/server.h"

#define RING_ENTRIES	256
#define REAP_MAX	64
#define DEVICE_MARK	0x7562ULL /* top of server_flags in our devices */
#define CLOSE_PATIENCE	30.0	  /* s for what a deleted device held */
#define QUIESCED_MOMENT 20	  /* ms */

/* One request of the server, or of the clean-up, until its answer. */
struct job {
	struct jobs *jobs;
	struct entry *entry;	/* NULL for FEATURES, ASK and OWNER */
	unsigned generation;	/* of the server that asked; 0: the clean-up */
	struct message message; /* arguments live here while it runs */
	int stage;
	int fd;
	char path[64];
	char bytes[16];
	const int *fds; /* beside the message, only while the job begins */
	int fd_count;
	int answer_fd;	   /* a helper's, for the server; -1: none */
	unsigned closing;  /* of what the device held, when it is deleted */
	int result;	   /* then: of the command itself; of a BUSY: why a
			      helper could not tell */
	ev_timer patience; /* then */
};

/* What is done for one type of message. */
struct operation {
	/* Returns 0 under way, 1 done at once, or a negative errno. */
	int (*begin)(struct job *job);
	/* NULL: the result as it is. Returns 1 while the job goes on. */
	int (*end)(struct job *job, int result);
};

/* What the ring's completions for the job bring. */
static uint64_t job_data(const struct job *job)
{
	return (uint64_t)(uintptr_t)job;
}

static const struct operation *find_operation(uint32_t type);
static void advance_orphan(struct jobs *jobs, struct entry *entry);

/* ---- jobs ---- */

static void submit_commands(struct jobs *jobs)
{
	if (ring_submit(jobs->control.ring) < 0)
		ring_raise_event(jobs->control.ring); /* again next turn */
}

static void tell_if_idle(struct jobs *jobs)
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
	if (job->entry->state < ENTRY_TO_STOP)
		return 0;
	log_error("device %u cannot be deleted: %s", job->entry->noted.id,
		  strerror(-result));
	return 1;
}

/*
 * Commands come one after the other, and what is as large as a page has pages of
 * its own (process.c), which cost more than most commands.
 */
static void job_free(struct job *job)
{
	if (job->jobs->spare)
		free(job);
	else
		job->jobs->spare = job;
}

/*
 * Answer a job whose server still lives, then see what its device needs. With
 * is_last the device is gone.
 */
static void __attribute__((cold))
job_finish(struct job *job, int result, int is_last)
{
	struct jobs *jobs = job->jobs;
	struct entry *entry = job->entry;
	int is_old = job->generation != jobs->generation;

	job->entry = NULL;
	if (entry)
		entry->job = NULL;
	if (is_last) {
		/* Before it is told: what it held is free then. */
		entry_free(&jobs->entries, entry, jobs->state);
		entry = NULL;
	}
	job->message.result = result;
	if (!is_old)
		jobs->answer(jobs, &job->message, job->answer_fd);
	if (job->answer_fd >= 0)
		close(job->answer_fd);
	/* The server that asked died meanwhile: what it began is finished. */
	if (entry && is_old &&
	    (entry->state == ENTRY_TAKEN || entry->state == ENTRY_DELETING))
		entry->state = ENTRY_TO_STOP;
	/* Else on_closed() does it. */
	if (!job->closing)
		job_free(job);
	if (entry && entry->state >= ENTRY_TO_STOP)
		advance_orphan(jobs, entry);
	tell_if_idle(jobs);
}

/* The device's end is told all the same. */
static void on_close_patience(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct job *job = timer->data;

	(void)loop;
	(void)events;
	log_warning("device %u is deleted, but what it held is not closed "
		    "within %g s: its file system or disk stands still",
		    job->entry->noted.id, CLOSE_PATIENCE);
	job->jobs->unclosed++;
	job_finish(job, job->result, 1);
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
	job->jobs->unclosed--;
	tell_if_idle(job->jobs);
	job_free(job); /* it has ended without */
}

/*
 * A device that is gone lets go of what it held. With a dead server that is the
 * last close, which can wait for a disk, and on a network every close can: the job
 * ends when all is closed.
 */
static void job_end(struct job *job, int result)
{
	struct jobs *jobs = job->jobs;
	int is_last = was_last(job, result);

	if (is_last)
		job->closing = entry_let_go(job->entry, jobs->control.ring,
					    job_data(job));
	if (!job->closing) {
		job_finish(job, result, is_last);
		return;
	}
	job->result = result;
	ev_timer_init(&job->patience, on_close_patience, CLOSE_PATIENCE, 0);
	job->patience.data = job;
	ev_timer_start(jobs->loop, &job->patience);
	submit_commands(jobs);
}

static void job_begin(struct job *job)
{
	struct jobs *jobs = job->jobs;
	int result;

	if (job->entry)
		job->entry->job = job;
	result = find_operation(job->message.type)->begin(job);
	if (result)
		job_end(job, result < 0 ? result : 0);
	else
		submit_commands(jobs);
}

static struct job *job_new(struct jobs *jobs, struct entry *entry,
			   uint32_t type)
{
	struct job *job = jobs->spare ? jobs->spare : malloc(sizeof(*job));

	if (!job)
		return NULL;
	jobs->spare = NULL;
	memset(job, 0, sizeof(*job));
	job->jobs = jobs;
	job->entry = entry;
	job->answer_fd = -1;
	job->message.magic = MESSAGE_MAGIC;
	job->message.type = type;
	job->message.id = entry ? entry->noted.id : 0;
	return job;
}

static void job_go_on(struct job *job, int result)
{
	const struct operation *operation = find_operation(job->message.type);

	PROBE(command_done, job->message.id, result);
	if (operation->end)
		result = operation->end(job, result);
	if (result <= 0)
		job_end(job, result);
}

static void __attribute__((cold))
on_command_ring(struct ev_loop *loop, ev_io *watcher, int events)
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

		if (!job)
			continue; /* the answer to a cancel, for instance */
		if (job->closing)
			on_closed(job);
		else
			job_go_on(job, done[i].result);
	}
	submit_commands(jobs);
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
			  entry->noted.id);
	submit_commands(jobs);
}

/* ---- the operations ---- */

/* The stages of a RECOVER. */
enum { RECOVER_LOOK, RECOVER_MOMENT, RECOVER_ASKED };

/* And of a BUSY. */
enum { BUSY_USERS, BUSY_OPEN, BUSY_CLOSE };

/* A command of the driver, whose answer ends the job or its stage. */
static int ask_driver(struct job *job, uint32_t command, uint64_t number)
{
	return control_put(&job->jobs->control, command, job->message.id,
			   number, job_data(job));
}

/* A command of the driver that reads or fills a part of the message. */
static int ask_driver_with(struct job *job, uint32_t command, void *bytes,
			   size_t size)
{
	return control_put_buffer(&job->jobs->control, command, job->message.id,
				  bytes, size, job_data(job));
}

static int begin_features(struct job *job)
{
	int error = control_open(&job->jobs->control);

	return error ? error
		     : ask_driver_with(job, UBLK_CMD_GET_FEATURES,
				       &job->message.number,
				       sizeof(job->message.number));
}

static int end_features(struct job *job, int result)
{
	if (result == 0)
		job->jobs->features = job->message.number;
	return result;
}

/*
 * The entry is there before the device. The driver writes back what it accepted:
 * it clamps the queues to the CPUs and silently drops flags that it does not know.
 */
static int begin_add(struct job *job)
{
	struct ublk_dev_info *info = &job->message.info;

	job->entry = entry_new(&job->jobs->entries, UINT32_MAX);
	if (!job->entry)
		return -ENOMEM;
	job->entry->job = job;
	info->server_flags = job->jobs->mark;
	return control_put_buffer(&job->jobs->control, UBLK_CMD_ADD_DEV,
				  info->dev_id, info, sizeof(*info),
				  job_data(job));
}

static int end_add(struct job *job, int result)
{
	if (result == 0) {
		job->entry->noted.id = job->message.id =
			job->message.info.dev_id;
		job->entry->info = job->message.info;
	}
	return result;
}

static int begin_params(struct job *job)
{
	return ask_driver_with(job, UBLK_CMD_SET_PARAMS, &job->message.params,
			       sizeof(job->message.params));
}

/* Keep what the next server will need. */
static int begin_note(struct job *job)
{
	int error = entry_note(job->entry, job->jobs->state, &job->message,
			       job->fds, job->fd_count);

	return error ? error : 1;
}

/* Waits until every tag is fetched; on 6.12 for the partition scan as well. */
static int begin_start(struct job *job)
{
	return ask_driver(job, UBLK_CMD_START_DEV, (uint64_t)job->jobs->server);
}

/* One whose server has died meanwhile is to be stopped. */
static int end_start(struct job *job, int result)
{
	if (result == 0 && job->entry->state == ENTRY_NEW)
		job->entry->state = ENTRY_LIVE;
	return result;
}

static int is_old_driver(const struct jobs *jobs)
{
	return !features_abort_on_close(jobs->features);
}

/* -EBUSY until the dead server's last descriptor, mapping and ring are gone. */
static int start_recovery(struct job *job)
{
	job->stage = RECOVER_ASKED;
	return ask_driver(job, UBLK_CMD_START_USER_RECOVERY, 0);
}

/*
 * An old driver cancels the dead server's commands after it has called the
 * device quiesced, and a RECOVER in between takes them away under its hands,
 * which the kernel does not survive. So it is not asked before it says so, and
 * then gets a moment.
 */
static int begin_recover(struct job *job)
{
	if (job->entry->state == ENTRY_LIVE)
		job->entry->state = ENTRY_QUIESCED; /* who served has left */
	if (!is_old_driver(job->jobs))
		return start_recovery(job);
	job->stage = RECOVER_LOOK;
	return ask_driver_with(job, UBLK_CMD_GET_DEV_INFO, &job->message.info,
			       sizeof(job->message.info));
}

/*
 * Before this driver aborted I/O on close it also broke when a server died
 * between the two commands of a take-over: the next RECOVER is refused, or
 * worse. Such a device cannot be saved.
 */
static int end_recover(struct job *job, int result)
{
	struct jobs *jobs = job->jobs;

	if (job->stage == RECOVER_ASKED) {
		if (result == 0)
			entry_quiesce(job->entry, jobs->state, 0);
		if (result == 0 && is_old_driver(jobs) &&
		    job->entry->state == ENTRY_QUIESCED) {
			job->entry->state = ENTRY_TAKEN;
			/* For the next keeper as well. */
			state_doom(jobs->state, job->entry->noted.id);
		}
		return result;
	}
	if (job->stage == RECOVER_LOOK && result < 0)
		return result;
	if (job->stage == RECOVER_LOOK &&
	    job->message.info.state == UBLK_S_DEV_LIVE)
		return -EBUSY;
	/* Once it has begun there is no way back for a server that is dead. */
	if (job->generation != jobs->generation)
		return -ECANCELED;
	if (job->stage == RECOVER_MOMENT) {
		result = start_recovery(job);
	} else {
		job->stage = RECOVER_MOMENT;
		result = ring_put_timeout(jobs->control.ring, QUIESCED_MOMENT,
					  job_data(job));
	}
	return result < 0 ? result : 1;
}

/* Every tag is fetched, or the command waits for that. */
static int begin_end_recover(struct job *job)
{
	if (job->entry->state == ENTRY_TAKEN) {
		job->entry->state = ENTRY_QUIESCED;
		state_spare(job->jobs->state, job->entry->noted.id);
	}
	return ask_driver(job, UBLK_CMD_END_USER_RECOVERY,
			  (uint64_t)job->jobs->server);
}

/* The server that asked may be dead by now: then the next one takes it over. */
static int end_end_recover(struct job *job, int result)
{
	if (result == 0 && job->entry->state == ENTRY_QUIESCED &&
	    job->generation == job->jobs->generation)
		job->entry->state = ENTRY_LIVE;
	return result;
}

/*
 * The write waits for the disk's I/O on some kernels (it freezes the queue), so
 * it goes through the ring like the rest; and a device that is taken over has
 * what an earlier server wrote, and I/O that may take long: the read tells.
 */
static int begin_timeout(struct job *job)
{
	int error;

	node_attribute(job->message.id, "queue/io_timeout", job->path,
		       sizeof(job->path));
	job->fd = open(job->path, O_RDWR | O_CLOEXEC);
	if (job->fd < 0)
		return -errno;
	error = ring_put_read(job->jobs->control.ring, job->fd, job->bytes,
			      sizeof(job->bytes) - 1, job_data(job));
	if (error)
		close(job->fd);
	return error;
}

static int end_timeout(struct job *job, int result)
{
	int length;

	/* The bytes are zeroes behind what was read. */
	if (job->stage == 0 && result > 0 &&
	    strtoul(job->bytes, NULL, 10) != job->message.number) {
		job->stage = 1;
		length = snprintf(job->bytes, sizeof(job->bytes), "%u",
				  (unsigned)job->message.number);
		result = ring_put_write(job->jobs->control.ring, job->fd,
					job->bytes, (size_t)length,
					job_data(job));
		if (result == 0)
			return 1;
	}
	close(job->fd);
	return result < 0 ? result : 0;
}

static void __attribute__((cold))
on_helped(void *context, const struct message *answer, int fd)
{
	struct job *job = context;
	struct jobs *jobs = job->jobs;

	job->answer_fd = fd;
	job->message.number = answer->number;
	memcpy(job->message.text, answer->text, sizeof(answer->text));
	job_go_on(job, answer->result);
	submit_commands(jobs);
}

static int ask_helper(struct job *job, const struct message *question)
{
	return helper_ask(job->jobs->helpers, question, job->fds, job->fd_count,
			  on_helped, job);
}

/* What the server wants to know from a helper. */
static int begin_ask(struct job *job)
{
	return ask_helper(job, &job->message);
}

/* The device that it is for does not exist yet. */
static int begin_owner(struct job *job)
{
	job->message.number = HELPER_OWNER;
	return ask_helper(job, &job->message);
}

/* On the ring, because opening a disk can wait for its I/O. */
static int open_disk(struct job *job)
{
	job->stage = BUSY_OPEN;
	node_path(NODE_BLOCK, job->message.id, job->path, sizeof(job->path));
	return ring_put_open(job->jobs->control.ring, job->path,
			     O_RDONLY | O_EXCL | O_CLOEXEC, 0, job_data(job));
}

/*
 * Is the disk in use? A helper finds most users and their names; the exclusive
 * open sees those that hold the disk in other ways, such as a mount in another
 * namespace. If no helper can tell, that open is all, and sees no plain opener.
 */
static int __attribute__((cold)) begin_busy(struct job *job)
{
	struct message question = { .magic = MESSAGE_MAGIC,
				    .type = MESSAGE_ASK,
				    .number = HELPER_DISK_USER };

	job->stage = BUSY_USERS;
	snprintf(question.text, sizeof(question.text), "ublkb%u",
		 job->message.id);
	job->result = ask_helper(job, &question);
	return job->result ? open_disk(job) : 0;
}

static int __attribute__((cold)) end_busy(struct job *job, int result)
{
	if (job->stage == BUSY_USERS) {
		/* Nobody's disk is opened for a server that has died: see
		   detach_look(). */
		if (result == -EBUSY || !job->entry)
			return result;
		job->result = result;
		result = open_disk(job);
		return result ? result : 1;
	}
	if (job->stage == BUSY_CLOSE)
		return job->result;
	if (result == -EBUSY)
		snprintf(job->message.text, sizeof(job->message.text),
			 "held exclusively");
	if (result == -ENOENT || result == -ENXIO)
		return 0;
	if (result < 0)
		return result;
	/* The last close can wait for I/O as well. */
	job->stage = BUSY_CLOSE;
	return entry_close(job->jobs->control.ring, result, job_data(job))
		       ? 1
		       : job->result;
}

/* What begins to be stopped is finished, by the next keeper as well. */
static void doom_device(struct job *job)
{
	if (job->entry->state < ENTRY_DELETING)
		job->entry->state = ENTRY_DELETING;
	state_doom(job->jobs->state, job->entry->noted.id);
}

/* 7.x: a STOP, or -EBUSY at once while anybody has the disk open. */
static int begin_try_stop(struct job *job)
{
	return ask_driver(job, UBLK_CMD_TRY_STOP_DEV, 0);
}

/* Until it is known, a dead server's device is not being stopped. */
static int end_try_stop(struct job *job, int result)
{
	if (result != -EBUSY)
		doom_device(job);
	return result;
}

/* Waits for writeback and for all I/O in flight. Always succeeds. */
static int begin_stop(struct job *job)
{
	doom_device(job);
	return ask_driver(job, UBLK_CMD_STOP_DEV, 0);
}

/*
 * 6.16 and newer. The driver checks neither range nor alignment, and does not
 * wait for I/O.
 */
static int begin_resize(struct job *job)
{
	return ask_driver(job, UBLK_CMD_UPDATE_SIZE, job->message.number);
}

/* 6.16 and newer, and waits until each queue has a tag that is idle. */
static int begin_quiesce(struct job *job)
{
	return ask_driver(job, UBLK_CMD_QUIESCE_DEV, job->message.number);
}

/* The next server takes a device over as ever if its own has died meanwhile. */
static int end_quiesce(struct job *job, int result)
{
	if (result == 0 && job->generation == job->jobs->generation) {
		job->entry->state = ENTRY_QUIESCED;
		entry_quiesce(job->entry, job->jobs->state, 1);
	}
	return result;
}

/*
 * DEL_DEV waits until the id is free: until the char device and, after a STOP
 * under load, the dead disk have been closed by whoever has them open. A disk
 * that is deleted by force may stay open, a mount for instance, for as long as
 * its user likes: that must hold up nobody.
 */
static int begin_delete(struct job *job)
{
	return ask_driver(job,
			  job->message.number && job->stage == 0
				  ? UBLK_CMD_DEL_DEV_ASYNC
				  : UBLK_CMD_DEL_DEV,
			  0);
}

/*
 * Interrupted, it had done all but wait for the id; cancelled, it had not begun.
 * Kernels before 6.7 only know the command that waits.
 */
static int end_delete(struct job *job, int result)
{
	if (result == -EINTR)
		return 0;
	if (result == -ECANCELED)
		job->message.number = 1;
	else if (result == -EOPNOTSUPP && job->message.number && !job->stage)
		job->stage = 1;
	else
		return result;
	return begin_delete(job) < 0 ? result : 1;
}

static const struct operation operations[] = {
	[MESSAGE_FEATURES] = { begin_features, end_features },
	[MESSAGE_ADD] = { begin_add, end_add },
	[MESSAGE_PARAMS] = { begin_params, NULL },
	[MESSAGE_NOTE] = { begin_note, NULL },
	[MESSAGE_START] = { begin_start, end_start },
	[MESSAGE_RECOVER] = { begin_recover, end_recover },
	[MESSAGE_END_RECOVER] = { begin_end_recover, end_end_recover },
	[MESSAGE_TIMEOUT] = { begin_timeout, end_timeout },
	[MESSAGE_BUSY] = { begin_busy, end_busy },
	[MESSAGE_TRY_STOP] = { begin_try_stop, end_try_stop },
	[MESSAGE_STOP] = { begin_stop, NULL },
	[MESSAGE_DELETE] = { begin_delete, end_delete },
	[MESSAGE_RESIZE] = { begin_resize, NULL },
	[MESSAGE_QUIESCE] = { begin_quiesce, end_quiesce },
	[MESSAGE_ASK] = { begin_ask, NULL },
	[MESSAGE_OWNER] = { begin_owner, NULL },
};

/* Returns NULL for a message that is no request. */
static const struct operation *find_operation(uint32_t type)
{
	if (type >= sizeof(operations) / sizeof(operations[0]) ||
	    !operations[type].begin)
		return NULL;
	return &operations[type];
}
/* ---- devices whose server is dead ---- */

/* The next step for an orphan that has no job: stop it, then delete it. */
static void advance_orphan(struct jobs *jobs, struct entry *entry)
{
	uint32_t type = entry->state == ENTRY_TO_STOP ? MESSAGE_STOP
						      : MESSAGE_DELETE;
	struct job *job = job_new(jobs, entry, type);

	if (!job) {
		log_error("device %u cannot be deleted: out of memory",
			  entry->noted.id);
		jobs_let_go(jobs, entry);
		entry_free(&jobs->entries, entry, jobs->state);
		return;
	}
	entry->state = ENTRY_TO_DELETE;
	job->message.number = 1;
	job_begin(job);
}

/*
 * A look or a setting that a dead server asked for can wait for the very I/O
 * that the next server must answer: it goes on without its device.
 */
static void detach_look(struct entry *entry)
{
	struct job *job = entry->job;

	if (!job || (job->message.type != MESSAGE_TIMEOUT &&
		     job->message.type != MESSAGE_BUSY))
		return;
	job->entry = NULL;
	entry->job = NULL;
}

void jobs_server_gone(struct jobs *jobs, int replaced, unsigned *kept,
		      unsigned *deleted)
{
	struct entry *entry, *next;
	int stays;

	*kept = *deleted = 0;
	for (entry = jobs->entries; entry; entry = next) {
		next = entry->next;
		if (entry->state >= ENTRY_TO_STOP)
			continue;
		if (entry->state == ENTRY_LIVE)
			entry->state = ENTRY_QUIESCED;
		stays = replaced && entry_can_wait(entry);
		if (!stays)
			entry->state = ENTRY_TO_STOP;
		++*(stays ? kept : deleted);
		detach_look(entry);
		/* First: STOP and DEL would wait for a START that waits. */
		cancel_wait(jobs, entry);
		if (!stays && !entry->job)
			advance_orphan(jobs, entry);
	}
}

int jobs_ask_users(struct jobs *jobs, helper_done *done, void *context)
{
	struct message question = { .magic = MESSAGE_MAGIC,
				    .type = MESSAGE_ASK,
				    .number = HELPER_DISK_USERS };
	const struct entry *entry;
	size_t at = 0, room = sizeof(question.text) - 16;

	/* Of many hundreds not all are looked at. */
	for (entry = jobs->entries; entry && at < room; entry = entry->next)
		if (entry->state < ENTRY_TO_STOP)
			at += (size_t)sprintf(question.text + at, "ublkb%u ",
					      entry->noted.id);
	return at ? helper_ask(jobs->helpers, &question, NULL, 0, done, context)
		  : -ENODEV;
}

void jobs_log_users(const struct message *answer)
{
	const char *line = answer->text, *disk_end, *end;

	if (answer->result < 0)
		log_warning("devices are stopped, and who uses them cannot be "
			    "found out: %s",
			    strerror(-answer->result));
	for (; answer->result == 0 && (end = strchr(line, '\n'));
	     line = end + 1) {
		disk_end = strchr(line, ' ');
		log_warning("%.*s is stopped while it is in use: %.*s",
			    (int)(disk_end - line), line,
			    (int)(end - disk_end - 1), disk_end + 1);
	}
}

void jobs_hurry(struct jobs *jobs)
{
	struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (entry->job && entry->job->message.type == MESSAGE_DELETE)
			cancel_wait(jobs, entry);
}

void jobs_close_file(struct jobs *jobs, int fd)
{
	entry_close(jobs->control.ring, fd, 0);
	submit_commands(jobs);
}

void jobs_let_go(struct jobs *jobs, struct entry *entry)
{
	entry_let_go(entry, jobs->control.ring, 0);
	submit_commands(jobs);
}

int jobs_hand_over(struct jobs *jobs, struct channel *channel)
{
	const struct entry *entry;
	int error = 0;

	for (entry = jobs->entries; entry && !error; entry = entry->next)
		if (entry_can_wait(entry))
			error = entry_hand_over(entry, channel);
	return error;
}

/* ---- from outside ---- */

int jobs_can_run(uint32_t type)
{
	return type == MESSAGE_CANCEL || find_operation(type);
}

static int needs_device(uint32_t type)
{
	return type != MESSAGE_ADD && type != MESSAGE_FEATURES &&
	       type != MESSAGE_ASK && type != MESSAGE_OWNER;
}

/* A request: find its device, make a job, run it. */
void jobs_run(struct jobs *jobs, const struct message *message, const int *fds,
	      int fd_count)
{
	struct message answer = *message;
	struct entry *entry = NULL;
	struct job *job = NULL;

	if (message->type == MESSAGE_CANCEL) {
		cancel_wait(jobs, entry_find(jobs->entries, message->id));
		return;
	}
	if (needs_device(message->type))
		entry = entry_find(jobs->entries, message->id);
	if (!entry && needs_device(message->type))
		answer.result = -ENODEV;
	else if (entry && (entry->job || entry->state >= ENTRY_TO_STOP))
		answer.result = -EBUSY;
	else if (!(job = job_new(jobs, entry, message->type)))
		answer.result = -ENOMEM;
	if (!job) {
		jobs->answer(jobs, &answer, -1);
		return;
	}
	job->message = *message;
	job->generation = jobs->generation;
	job->fds = fds;
	job->fd_count = fd_count;
	job_begin(job);
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
		if (entry->job || entry->state == ENTRY_NEW ||
		    entry->state > ENTRY_TAKEN)
			return 1;
	/* This process could neither end nor become another program. */
	return jobs->unclosed > 0;
}

static int has_requests(uint32_t id)
{
	unsigned long reads = 0, writes = 0;
	char path[48], text[64];
	ssize_t length;
	int fd;

	node_attribute(id, "inflight", path, sizeof(path));
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
		if (has_requests(entry->noted.id))
			return 1;
	return 0;
}

int jobs_have_devices(const struct jobs *jobs)
{
	const struct entry *entry;

	for (entry = jobs->entries; entry; entry = entry->next)
		if (entry->state < ENTRY_TO_STOP)
			return 1;
	return 0;
}

void jobs_clean_up(struct jobs *jobs)
{
	struct entry *entry, *next;

	for (entry = jobs->entries; entry; entry = next) {
		next = entry->next;
		if (entry->state == ENTRY_TO_STOP && !entry->job)
			advance_orphan(jobs, entry);
	}
}

void jobs_set_server(struct jobs *jobs, pid_t server)
{
	jobs->server = server;
	jobs->generation++;
}

int jobs_open(struct jobs *jobs, struct ev_loop *loop, const char *path,
	      struct state *state, struct helpers *helpers, jobs_answer *answer,
	      jobs_idle *idle, void *owner)
{
	struct ring *ring;
	int error;

	memset(jobs, 0, sizeof(*jobs));
	jobs->control.fd = -1;
	jobs->loop = loop;
	jobs->mark = path_mark(path);
	jobs->state = state;
	jobs->helpers = helpers;
	jobs->answer = answer;
	jobs->idle = idle;
	jobs->owner = owner;
	ring = ring_create(RING_ENTRIES, RING_WIDE, &error);
	if (!ring)
		return error;
	jobs->control.ring = ring;
	/* A command each, and the close of what one before it held. */
	error = ring_allow_workers(ring, 2 * DEVICES_MAX + 1);
	if (error < 0)
		log_warning("cannot allow more kernel workers: %s",
			    strerror(-error));
	ev_io_init(&jobs->watcher, on_command_ring, ring_event_fd(ring),
		   EV_READ);
	jobs->watcher.data = jobs;
	ev_io_start(loop, &jobs->watcher);
	return 0;
}

void jobs_close(struct jobs *jobs)
{
	if (!jobs->control.ring)
		return;
	ev_io_stop(jobs->loop, &jobs->watcher);
	ring_destroy(jobs->control.ring);
	while (jobs->entries) {
		free(jobs->entries->job);
		entry_forget(&jobs->entries, jobs->entries);
	}
	free(jobs->spare);
	jobs->spare = NULL;
	if (jobs->control.fd >= 0)
		close(jobs->control.fd);
	jobs->control.ring = NULL;
	jobs->control.fd = -1;
}
