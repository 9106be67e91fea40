#include "entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "notify.h"

#define STORED "device-%u-%d" /* with a service manager: device and which */

/* ---- the table ---- */

struct entry *entry_find(struct entry *first, uint32_t id)
{
	while (first && first->noted.id != id)
		first = first->next;
	return first;
}

struct entry *entry_new(struct entry **first, uint32_t id)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->noted.id = id;
	entry->next = *first;
	*first = entry;
	return entry;
}

void entry_forget(struct entry **first, struct entry *entry)
{
	while (*first != entry)
		first = &(*first)->next;
	*first = entry->next;
	held_close(entry->noted.files, entry->noted.file_count);
	free(entry->noted.files);
	free(entry->noted.words);
	free(entry);
}

void entry_free(struct entry **first, struct entry *entry,
		const struct state *state)
{
	/* Last of all, so that a later keeper can finish what this one began. */
	state_remove(state, entry->noted.id);
	entry_forget(first, entry);
}

/* The words and files of a note, which are the reader's, become the entry's. */
static int keep_note(struct entry *entry, const struct state_device *noted)
{
	size_t size = sizeof(*noted->files) * (size_t)noted->file_count;

	entry->noted = *noted;
	entry->noted.words = strdup(noted->words);
	entry->noted.files = size ? malloc(size) : NULL;
	if (!entry->noted.words || (size && !entry->noted.files)) {
		entry->noted.file_count = 0;
		return -ENOMEM;
	}
	if (size)
		memcpy(entry->noted.files, noted->files, size);
	return 0;
}

int entry_restore(struct entry **first, const struct ublk_dev_info *info,
		  const struct state_device *noted, int is_doomed)
{
	struct entry *entry = entry_new(first, info->dev_id);
	int error = entry ? 0 : -ENOMEM;

	if (entry && noted)
		error = keep_note(entry, noted);
	if (error && noted)
		held_close(noted->files, noted->file_count);
	if (!entry)
		return error;
	entry->info = *info;
	/* Without its words nobody can serve it. */
	entry->state = is_doomed || error		? ENTRY_TO_STOP
		       : info->state == UBLK_S_DEV_LIVE ? ENTRY_LIVE
							: ENTRY_QUIESCED;
	return error;
}

int entry_can_wait(const struct entry *entry)
{
	return entry->noted.recoverable &&
	       (entry->state == ENTRY_LIVE || entry->state == ENTRY_QUIESCED);
}

/* ---- what a device holds ---- */

/* A service manager keeps copies for when all of ublkd is killed. */
static void unstore_file(const struct entry *entry, int which)
{
	char name[40];

	snprintf(name, sizeof(name), STORED, (unsigned)entry->noted.id, which);
	notify_unstore(name);
}

static void store_file(const struct entry *entry, int which)
{
	char name[40];
	int error;

	/* What was spared of an earlier device with that id. */
	unstore_file(entry, which);
	snprintf(name, sizeof(name), STORED, (unsigned)entry->noted.id, which);
	error = notify_store(name, entry->noted.files[which].fd);
	if (error)
		log_warning("the service manager does not keep what device %u "
			    "holds: %s",
			    entry->noted.id, strerror(-error));
}

/* Put fd where nothing is open: into the record that there is, or a new one. */
static int keep_file(struct entry *entry, int which, int fd)
{
	struct held_file *files;

	if (which < entry->noted.file_count)
		return entry->noted.files[which].fd < 0
			       ? held_take(&entry->noted.files[which], fd)
			       : -EINVAL;
	files = reallocarray(entry->noted.files, (size_t)which + 1,
			     sizeof(*files));
	if (!files)
		return -ENOMEM;
	entry->noted.files = files;
	held_describe(&files[which], fd);
	entry->noted.file_count = which + 1;
	return 0;
}

static struct entry *find_or_make(struct entry **first, uint32_t id)
{
	struct entry *entry = entry_find(*first, id);

	return entry ? entry : entry_new(first, id);
}

int entry_from_message(struct entry **first, const struct message *message,
		       const int *fds, int fd_count)
{
	struct entry *entry = find_or_make(first, message->id);
	int taken = 0, error = entry ? 0 : -ENOMEM;

	if (entry && message->type == MESSAGE_TALLY)
		entry->noted.tally = message->number;
	if (entry && message->type == MESSAGE_DEVICE) {
		held_close(entry->noted.files, entry->noted.file_count);
		entry->noted.file_count = 0;
		while (taken < fd_count && !error) {
			error = keep_file(entry, taken, fds[taken]);
			taken += !error;
		}
	}
	channel_close_fds(fds + taken, fd_count - taken);
	return error;
}

int entry_from_store(struct entry **first, const char *name, int fd)
{
	struct entry *entry;
	unsigned id;
	int which;
	char end;

	if (sscanf(name, STORED "%c", &id, &which, &end) != 2)
		return -EINVAL;
	entry = find_or_make(first, id);
	if (!entry)
		return -ENOMEM;
	/* A service manager gives descriptors in the order in which it got them. */
	if (which != entry->noted.file_count || which >= MESSAGE_MAX_FDS)
		return -EINVAL;
	return keep_file(entry, which, fd);
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

/* Note the device as it is, made by the command `words`. */
static int write_state(const struct entry *entry, const struct state *state,
		       char *words)
{
	struct state_device noted = entry->noted;

	noted.words = words;
	noted.mark = entry->info.server_flags;
	return state_write(state, &noted);
}

/*
 * The device's own files get their names when they are noted, and not before:
 * else one would stay for ever if this process were killed in between.
 */
static int write_first_note(struct entry *entry, const struct state *state,
			    uint64_t flags, char *words)
{
	int i, error;

	entry->noted.recoverable = (flags & NOTE_RECOVERABLE) != 0;
	entry->noted.private = (flags & NOTE_PRIVATE) != 0;
	error = write_state(entry, state, words);
	for (i = 0;
	     entry->noted.private && i < entry->noted.file_count && !error; i++)
		error = held_link(&entry->noted.files[i]);
	return error;
}

int entry_note(struct entry *entry, const struct state *state,
	       const struct message *message, const int *fds, int fd_count)
{
	char *words = strdup(message->text);
	int error = words ? keep_files(entry, fds, fd_count) : -ENOMEM;
	int was_configured = entry->noted.configured;

	entry->noted.configured = (message->number & NOTE_CONFIGURED) != 0;
	if (!error && !entry->noted.words)
		error = write_first_note(entry, state, message->number, words);
	else if (!error && (strcmp(words, entry->noted.words) != 0 ||
			    entry->noted.configured != was_configured))
		error = write_state(entry, state, words);
	/* What cannot be written down does not count, now or later. */
	if (error) {
		entry->noted.configured = was_configured;
		free(words);
		return error;
	}
	free(entry->noted.words);
	entry->noted.words = words;
	return 0;
}

int entry_take_tally(struct entry *first, const struct state *state,
		     const struct message *tally)
{
	struct entry *entry = entry_find(first, tally->id);

	if (!entry)
		return -ENODEV;
	if (entry->noted.tally == tally->number)
		return 0;
	entry->noted.tally = tally->number;
	/* What is being deleted is noted as that, or not at all. */
	return entry->noted.words && entry_can_wait(entry)
		       ? write_state(entry, state, entry->noted.words)
		       : 0;
}

void entry_quiesce(struct entry *entry, const struct state *state, int quiesced)
{
	int error = 0;

	if (entry->noted.quiesced == quiesced)
		return;
	entry->noted.quiesced = quiesced;
	if (entry->noted.words)
		error = write_state(entry, state, entry->noted.words);
	if (error)
		log_warning(
			"device %u: should ublkd be killed, it is not known "
			"whether the device is quiesced: %s",
			(unsigned)entry->noted.id, strerror(-error));
}

/* ---- who gets what it holds ---- */

static uint64_t note_flags(const struct state_device *noted)
{
	return (noted->configured ? NOTE_CONFIGURED : 0) |
	       (noted->quiesced ? NOTE_QUIESCED : 0);
}

int entry_hand_over(const struct entry *entry, struct channel *channel)
{
	struct message message = { .magic = MESSAGE_MAGIC,
				   .type = MESSAGE_DEVICE,
				   .id = entry->noted.id,
				   .info = entry->info,
				   .number = note_flags(&entry->noted) };
	struct message tally = { .magic = MESSAGE_MAGIC,
				 .type = MESSAGE_TALLY,
				 .id = entry->noted.id,
				 .number = entry->noted.tally };
	int fds[MESSAGE_MAX_FDS];
	int count = held_fds(entry->noted.files, entry->noted.file_count, fds),
	    error;

	message.info.state = entry->state == ENTRY_LIVE ? UBLK_S_DEV_LIVE
							: UBLK_S_DEV_QUIESCED;
	snprintf(message.text, sizeof(message.text), "%s", entry->noted.words);
	error = channel_send(channel, &message, fds, count);
	return error || !entry->noted.tally
		       ? error
		       : channel_send(channel, &tally, NULL, 0);
}

unsigned entry_close(struct ring *ring, int fd, uint64_t data)
{
	if (ring_put_close(ring, fd, data) == 0)
		return 1;
	close(fd);
	return 0;
}

unsigned entry_let_go(struct entry *entry, struct ring *ring, uint64_t data)
{
	const struct held_file *file;
	unsigned begun = 0;

	while (entry->noted.file_count) {
		file = &entry->noted.files[--entry->noted.file_count];
		unstore_file(entry, entry->noted.file_count);
		/* Nobody needs it without its device. */
		if (entry->noted.private)
			held_remove(file);
		if (file->fd >= 0)
			begun += entry_close(ring, file->fd, data);
	}
	return begun;
}
