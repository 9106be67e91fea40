#include "jobs-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carry.h"
#include "base/log.h"
#include "notify.h"
#include "server/server.h"
#include "takeover.h"

#define RING_ENTRIES   256
#define REAP_MAX       64
#define DEVICE_MARK    0x7562ULL /* top of server_flags in our devices */
#define CLOSE_PATIENCE 30.0	 /* s for what a deleted device held */

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

/* A service manager keeps them for when all of ublkd is killed. */
static void store_file(const struct entry *entry, int which)
{
	char name[40];
	int error;

	takeover_name(name, sizeof(name), entry->id, which);
	/* What was spared of an earlier device with that id. */
	notify_unstore(name);
	error = notify_store(name, entry->files[which].fd);
	if (error)
		log_warning("the service manager does not keep what device %u "
			    "holds: %s",
			    entry->id, strerror(-error));
}

static void unstore_files(const struct entry *entry)
{
	char name[40];
	int i;

	for (i = 0; i < entry->file_count; i++) {
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

	unstore_files(entry);
	while (entry->file_count) {
		const struct held_file *file =
			&entry->files[--entry->file_count];

		/* Nobody needs it without its device. */
		if (entry->private)
			held_remove(file);
		if (file->fd >= 0)
			begun += begin_close(jobs, file->fd, data);
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
	free(entry->files);
	free(entry->words);
	free(entry);
}

/* Put fd where nothing is open: into the record that there is, or a new one. */
static int keep_file(struct entry *entry, int which, int fd)
{
	struct held_file *files;

	if (which < entry->file_count)
		return entry->files[which].fd < 0
			       ? held_take(&entry->files[which], fd)
			       : -EINVAL;
	files = reallocarray(entry->files, (size_t)which + 1, sizeof(*files));
	if (!files)
		return -ENOMEM;
	entry->files = files;
	held_describe(&files[which], fd);
	entry->file_count = which + 1;
	return 0;
}

static int keep_files(struct entry *entry, const int *fds, int count)
{
	int i, fd, error;

	for (i = 0; i < count; i++) {
		fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		error = keep_file(entry, i, fd);
		if (error) {
			close(fd);
			return error;
		}
		store_file(entry, i);
	}
	return 0;
}

/* Note it, as made by that command, for a keeper that comes after this one. */
static int write_state(const struct jobs *jobs, const struct entry *entry,
		       const char *words)
{
	struct state_device device = { .id = entry->id,
				       .recoverable = entry->recoverable,
				       .private = entry->private,
				       .mark = entry->info.server_flags,
				       .tally = entry->tally,
				       .file_count = entry->file_count };

	if (entry->file_count)
		memcpy(device.files, entry->files,
		       sizeof(device.files[0]) * (size_t)entry->file_count);
	snprintf(device.words, sizeof(device.words), "%s", words);
	return state_write(jobs->state, &device);
}

/*
 * Files of ours get their names when they are noted, and not before: else one
 * would stay for ever if we were killed in between.
 */
static int name_files(const struct entry *entry)
{
	int i, error = 0;

	for (i = 0; entry->private && i < entry->file_count && !error; i++)
		error = held_link(&entry->files[i]);
	return error;
}

static int note_first(struct jobs *jobs, struct entry *entry,
		      const struct message *message)
{
	int error;

	entry->recoverable = (message->number & NOTE_RECOVERABLE) != 0;
	entry->private = (message->number & NOTE_PRIVATE) != 0;
	error = write_state(jobs, entry, message->text);
	return error ? error : name_files(entry);
}

/* What cannot be written down does not count, now or later. */
int jobs_note(struct job *job)
{
	struct entry *entry = job->entry;
	const struct message *message = &job->message;
	char *words = strdup(message->text);
	int error;

	if (!words)
		return -ENOMEM;
	error = keep_files(entry, job->fds, job->fd_count);
	if (!error && !entry->words)
		error = note_first(job->jobs, entry, message);
	else if (!error && strcmp(words, entry->words) != 0)
		error = write_state(job->jobs, entry, words);
	if (error) {
		free(words);
		return error;
	}
	free(entry->words);
	entry->words = words;
	return 1;
}

/* ---- jobs ---- */

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

static void job_begin(struct job *job)
{
	struct jobs *jobs = job->jobs;
	int result;

	if (job->entry)
		job->entry->job = job;
	result = jobs_operation(job->message.type)->begin(job);
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

static void go_on(struct job *job, int result)
{
	const struct operation *operation = jobs_operation(job->message.type);

	if (operation->end)
		result = operation->end(job, result);
	if (result <= 0)
		job_end(job, result);
}

void jobs_go_on(struct job *job, int result)
{
	struct jobs *jobs = job->jobs;

	go_on(job, result);
	submit(jobs);
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

		if (!job)
			continue; /* the answer to a cancel, for instance */
		if (job->closing)
			on_closed(job);
		else
			go_on(job, done[i].result);
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
		entry->served = 0;
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

int jobs_ask_users(struct jobs *jobs, helper_done *done, void *context)
{
	struct message question = { .magic = MESSAGE_MAGIC,
				    .type = MESSAGE_ASK,
				    .number = HELPER_DISK_USERS };
	const struct entry *entry;
	size_t at = 0, room = sizeof(question.text) - 16;

	/* Of many hundreds not all are looked at. */
	for (entry = jobs->entries; entry && at < room; entry = entry->next)
		if (!entry->clean_up)
			at += (size_t)sprintf(question.text + at, "ublkb%u ",
					      entry->id);
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
	return write_state(jobs, entry, entry->words);
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
	int fds[MESSAGE_MAX_FDS];
	int count = held_fds(entry->files, entry->file_count, fds);

	message.info.state = entry->served ? UBLK_S_DEV_LIVE
					   : UBLK_S_DEV_QUIESCED;
	snprintf(message.text, sizeof(message.text), "%s", entry->words);
	return channel_send(channel, &message, fds, count);
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
		for (i = 0; i < entry->file_count && !error; i++) {
			if (entry->files[i].fd < 0)
				continue;
			takeover_name(name, sizeof(name), entry->id, i);
			error = carry_put(name, entry->files[i].fd);
		}
	return error;
}

/* ---- from outside ---- */

int jobs_can_run(uint32_t type)
{
	return type == MESSAGE_CANCEL || jobs_operation(type);
}

static int needs_device(uint32_t type)
{
	return type != MESSAGE_ADD && type != MESSAGE_FEATURES &&
	       type != MESSAGE_ASK;
}

/* A request: find its device, make a job, run it. */
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
	else if (needs_device(message->type))
		entry = entry_find(jobs, message->id);
	answer.result = -ENODEV;
	if (!entry && needs_device(message->type))
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

static void close_files(const struct held_file *files, int count)
{
	while (count--)
		if (files[count].fd >= 0)
			close(files[count].fd);
}

static int copy_noted(struct entry *entry, const struct state_device *noted)
{
	size_t count = (size_t)noted->file_count;

	entry->private = noted->private;
	entry->words = strdup(noted->words);
	if (count)
		entry->files = calloc(count, sizeof(*entry->files));
	if (!entry->words || (count && !entry->files))
		return -ENOMEM;
	if (count)
		memcpy(entry->files, noted->files,
		       count * sizeof(*entry->files));
	entry->file_count = noted->file_count;
	return 0;
}

int jobs_restore(struct jobs *jobs, const struct ublk_dev_info *info,
		 const struct state_device *noted, int doomed)
{
	struct entry *entry = entry_new(jobs, info->dev_id);
	int error = !entry ? -ENOMEM : noted ? copy_noted(entry, noted) : 0;

	if (error && noted)
		close_files(noted->files, noted->file_count);
	if (!entry)
		return error;
	entry->info = *info;
	/* Without its words nobody can serve it. */
	entry->clean_up = doomed || error ? CLEAN_UP_STOP : CLEAN_UP_NO;
	entry->live = entry->recoverable = !doomed;
	entry->served = info->state == UBLK_S_DEV_LIVE;
	return error;
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
		close_files(entry->files, entry->file_count);
		free(entry->job);
		free(entry->files);
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
