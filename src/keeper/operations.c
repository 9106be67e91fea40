/*
 * What the keeper runs for the server, and for devices whose server is dead: one
 * operation for each type of message.
 */
#include "jobs-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/feature.h"
#include "base/log.h"
#include "base/node.h"

#define QUIESCED_MOMENT 20 /* ms */

/* The stages of a RECOVER. */
enum { RECOVER_LOOK, RECOVER_MOMENT, RECOVER_ASKED };

/* And of a BUSY. */
enum { BUSY_USERS, BUSY_OPEN, BUSY_CLOSE };

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

/* Also of a START. The server that asked may be dead by now. */
static int end_end_recover(struct job *job, int result)
{
	job->entry->served = result == 0 &&
			     job->generation == job->jobs->generation;
	return result;
}

static int end_start(struct job *job, int result)
{
	job->entry->live = result == 0 && !job->entry->clean_up;
	return end_end_recover(job, result);
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
	job->entry->served = 0; /* whoever did has left */
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

static void on_helped(void *context, const struct message *answer)
{
	struct job *job = context;

	job->message.number = answer->number;
	memcpy(job->message.text, answer->text, sizeof(answer->text));
	jobs_go_on(job, answer->result);
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
static int begin_busy(struct job *job)
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

/* The last close can wait for I/O as well. */
static int close_disk(struct job *job, int fd)
{
	job->stage = BUSY_CLOSE;
	if (ring_put_close(job->jobs->control.ring, fd, job_data(job)) == 0)
		return 1;
	close(fd);
	return job->result;
}

/* Nobody's disk is opened for a server that has died meanwhile: see detach(). */
static int end_users(struct job *job, int result)
{
	if (result == -EBUSY || !job->entry)
		return result;
	job->result = result;
	result = open_disk(job);
	return result ? result : 1;
}

static int end_busy(struct job *job, int result)
{
	if (job->stage == BUSY_USERS)
		return end_users(job, result);
	if (job->stage == BUSY_CLOSE)
		return job->result;
	if (result == -EBUSY)
		snprintf(job->message.text, sizeof(job->message.text),
			 "held exclusively");
	if (result == -ENOENT || result == -ENXIO)
		return 0;
	return result < 0 ? result : close_disk(job, result);
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

static const struct operation operations[] = {
	[MESSAGE_FEATURES] = { begin_features, end_features },
	[MESSAGE_ADD] = { begin_add, end_add },
	[MESSAGE_PARAMS] = { begin_params, NULL },
	[MESSAGE_NOTE] = { jobs_note, NULL },
	[MESSAGE_START] = { begin_start, end_start },
	[MESSAGE_RECOVER] = { begin_recover, end_recover },
	[MESSAGE_END_RECOVER] = { begin_end_recover, end_end_recover },
	[MESSAGE_TIMEOUT] = { begin_timeout, end_timeout },
	[MESSAGE_BUSY] = { begin_busy, end_busy },
	[MESSAGE_TRY_STOP] = { begin_try_stop, end_try_stop },
	[MESSAGE_STOP] = { begin_stop, NULL },
	[MESSAGE_DELETE] = { begin_delete, end_delete },
	[MESSAGE_RESIZE] = { begin_resize, NULL },
	[MESSAGE_ASK] = { begin_ask, NULL },
};

const struct operation *jobs_operation(uint32_t type)
{
	if (type >= sizeof(operations) / sizeof(operations[0]) ||
	    !operations[type].begin)
		return NULL;
	return &operations[type];
}
