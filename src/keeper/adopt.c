#include "adopt.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/node.h"
#include "base/proc.h"
#include "server/server.h"

struct adoption {
	struct jobs *jobs;
	struct takeover *takeover;
	int delete_leftovers;
	struct dying dying; /* servers, of all devices together */
};

/* Whether that process is a ublkd server, and alive; 6.12 keeps old pids. */
static int is_server(int32_t pid)
{
	struct proc_look look;

	return pid > 0 && proc_look(pid, &look) == 0 &&
	       strcmp(look.name, SERVER_NAME) == 0 && !strchr("ZX", look.state);
}

/* A device is left alone, for somebody later: what it held stays as it is. */
static void spare_found(struct adoption *adoption, uint32_t id)
{
	struct entry *found = entry_find(adoption->takeover->found, id);

	if (found)
		found->state = ENTRY_SPARED;
}

/* It cannot be found out which devices there are: all are left alone. */
static void spare_all_found(struct takeover *takeover)
{
	struct entry *found;

	for (found = takeover->found; found; found = found->next)
		found->state = ENTRY_SPARED;
}

/* By another than the one that leaves; one that is dying gets time to go. */
static int is_served_by_another(struct adoption *adoption, int32_t pid)
{
	const struct takeover *takeover = adoption->takeover;

	if (takeover->fd >= 0 && takeover->server.pid == pid)
		return 0;
	while (is_server(pid))
		if (dying_wait(&adoption->dying, pid) < 0)
			return 1;
	return 0;
}

/* Whether a device that the driver has is ours to have; if not it is told. */
static int is_free(struct adoption *adoption, uint32_t id,
		   const struct state_device *noted,
		   const struct ublk_dev_info *info)
{
	/* Of a noted device the note tells which one it is. */
	uint64_t mark = noted && noted->mark ? noted->mark
					     : adoption->jobs->mark;

	if (info->server_flags != mark) {
		/* Others' devices are no news. */
		if (noted)
			log_error("device %u is another one than that of which "
				  "%s tells: both are left alone",
				  id, adoption->jobs->state->path);
		return 0;
	}
	if (!is_served_by_another(adoption, info->server_pid))
		return 1;
	log_warning("device %u is ours but is served by %s: left alone", id,
		    adoption->dying.who);
	return 0;
}

/*
 * What the driver knows of it. Returns 0 if it is there and ours to have,
 * -ENODEV if it is gone, -EBUSY if it is to be left alone.
 */
static __attribute__((cold)) int
look_up_device(struct adoption *adoption, uint32_t id,
	       const struct state_device *noted, struct ublk_dev_info *info)
{
	/* Static: a command that was not taken keeps its address. */
	static struct ublk_dev_info answer;
	struct control *control = &adoption->jobs->control;
	struct ring_event event;

	if (control_put_buffer(control, UBLK_CMD_GET_DEV_INFO, id, &answer,
			       sizeof(answer), 0) < 0 ||
	    ring_wait(control->ring, &event) < 0 ||
	    (event.result < 0 && event.result != -ENODEV)) {
		log_error("device %u: the driver does not tell of it: left "
			  "alone",
			  id);
		spare_found(adoption, id);
		return -EBUSY;
	}
	if (event.result < 0)
		return -ENODEV;
	*info = answer;
	if (is_free(adoption, id, noted, info))
		return 0;
	spare_found(adoption, id);
	return -EBUSY;
}

static void restore_device(struct adoption *adoption,
			   const struct ublk_dev_info *info,
			   const struct state_device *noted, int doomed)
{
	if (entry_restore(&adoption->jobs->entries, info, noted, doomed) < 0)
		log_error("device %u cannot be taken over: out of memory",
			  info->dev_id);
}

/*
 * What the device held, from the old server or from whoever kept that. This is
 * newer than the note, and an older build may not have noted all that is known.
 */
static void take_found(struct adoption *adoption, struct state_device *noted)
{
	struct entry *found = entry_find(adoption->takeover->found, noted->id);
	int is_better, i;

	if (!found)
		return;
	is_better = found->noted.tally && found->noted.tally != noted->tally;
	if (is_better)
		noted->tally = found->noted.tally;
	for (i = 0; i < found->noted.file_count; i++) {
		const struct held_file *file = &found->noted.files[i],
				       *was = &noted->files[i];

		is_better |= i >= noted->file_count ||
			     was->born != file->born ||
			     was->generation != file->generation;
		noted->files[i] = *file;
	}
	if (noted->file_count < i)
		noted->file_count = i;
	found->noted.file_count = 0;
	if (is_better && !noted->deleting)
		state_write(adoption->jobs->state, noted);
}

/*
 * Files of our own that nobody had are opened again here: they lie in memory.
 * Where a file of the user's lies can stand still, so the server opens that, as
 * it did for `add`. Returns 0, or a negative errno and the first that cannot be
 * opened in *which.
 */
static int open_files(struct state_device *noted, int *which)
{
	int i, error = 0;

	for (i = 0; i < noted->file_count && !error; i++) {
		struct held_file *file = &noted->files[i];

		*which = i;
		if (file->fd < 0 && (noted->private || !file->path[0]))
			error = held_open(file);
	}
	return error;
}

/*
 * Why a noted device is to be deleted, or NULL. With an error, of opening that
 * file of ours, it cannot go on all the same.
 */
static const char *find_obstacle(const struct state_device *noted,
				 const struct ublk_dev_info *info, int error)
{
	if (noted->deleting)
		return "it was being deleted";
	if (info->state == UBLK_S_DEV_DEAD)
		return "it has never been live, or is dead";
	if (!noted->recoverable)
		return "it has recovery=no";
	/* Else it may come back, or be made to open. */
	if (error == -ENOENT || error == -ESTALE)
		return "its data died with the processes that held it";
	return NULL;
}

/* For --delete-leftovers: whether a file that it needs is not to be had. */
static int misses_file(const struct state_device *noted)
{
	int i;

	for (i = 0; i < noted->file_count; i++)
		if (noted->files[i].fd < 0 && !held_is_there(&noted->files[i]))
			return 1;
	return 0;
}

/* The driver knows it no more: a keeper died in the last step of its del. */
static void forget_noted(struct adoption *adoption,
			 const struct state_device *noted)
{
	int i;

	log_notice("device %u, which %s tells of, is gone", noted->id,
		   adoption->jobs->state->path);
	for (i = 0; noted->private && i < noted->file_count; i++)
		held_remove(&noted->files[i]);
	state_remove(adoption->jobs->state, noted->id);
}

static __attribute__((cold)) void adopt_noted(void *context,
					      struct state_device *noted)
{
	struct adoption *adoption = context;
	struct ublk_dev_info info;
	const char *obstacle;
	int error = look_up_device(adoption, noted->id, noted, &info),
	    which = 0;

	if (error == -EBUSY)
		return;
	if (error) {
		forget_noted(adoption, noted);
		return;
	}
	take_found(adoption, noted);
	error = open_files(noted, &which);
	obstacle = find_obstacle(noted, &info, error);
	if (!obstacle && adoption->delete_leftovers && misses_file(noted))
		obstacle = "what it needs cannot be opened";
	if (obstacle)
		log_warning(
			"device %u was left by a ublkd that was killed; %s: "
			"it is deleted",
			noted->id, obstacle);
	else if (error)
		log_error("device %u was left by a ublkd that was killed, and "
			  "cannot be served: %s: %s; its users wait until the "
			  "next start can open that, or it is deleted",
			  noted->id, noted->files[which].path,
			  strerror(-error));
	else
		log_notice("device %u was left by a ublkd that is gone: it is "
			   "taken over",
			   noted->id);
	/* A build before there were names for udev has written none. */
	if (!obstacle)
		state_write_name(adoption->jobs->state, noted->id,
				 noted->words);
	restore_device(adoption, &info, noted, obstacle != NULL);
}

/* Ours, and nothing is noted of it: an add that was not finished, mostly. */
static void adopt_leftover(struct adoption *adoption, uint32_t id)
{
	struct ublk_dev_info info;

	if (entry_find(adoption->jobs->entries, id) ||
	    state_has(adoption->jobs->state, id) ||
	    look_up_device(adoption, id, NULL, &info) < 0)
		return;
	if (info.state != UBLK_S_DEV_DEAD && !adoption->delete_leftovers) {
		spare_found(adoption, id);
		log_warning(
			"device %u was left by a ublkd that was killed, and "
			"%s knows nothing of it: its users wait until it "
			"is deleted; --delete-leftovers does that",
			id, adoption->jobs->state->path);
		return;
	}
	log_warning("device %u was left by a ublkd that was killed: it is "
		    "deleted",
		    id);
	restore_device(adoption, &info, NULL, 1);
}

static void adopt_leftovers(struct adoption *adoption)
{
	DIR *folder = opendir(NODE_DEVICES);
	struct dirent *entry;
	unsigned id;

	while (folder && (entry = readdir(folder)))
		if (sscanf(entry->d_name, "ublkc%u", &id) == 1)
			adopt_leftover(adoption, id);
	if (folder)
		closedir(folder);
}

void adopt_devices(struct jobs *jobs, struct takeover *takeover,
		   int delete_leftovers)
{
	struct adoption adoption = { .jobs = jobs,
				     .takeover = takeover,
				     .delete_leftovers = delete_leftovers,
				     .dying = { .what = "devices",
						.grace = DYING_GRACE } };
	int error = control_open(&jobs->control);

	if (error == -ENOENT)
		return; /* without the driver there are no devices */
	if (error < 0) {
		log_error("cannot look for devices: %s", strerror(-error));
		spare_all_found(takeover);
		return;
	}
	error = state_read_all(jobs->state, adopt_noted, &adoption);
	if (error < 0) {
		log_error("cannot read %s: %s", jobs->state->path,
			  strerror(-error));
		spare_all_found(takeover);
	}
	adopt_leftovers(&adoption);
}

void adopt_drop_rest(struct jobs *jobs, struct takeover *takeover)
{
	struct entry *found, *next;

	for (found = takeover->found; found; found = next) {
		next = found->next;
		if (found->state == ENTRY_SPARED)
			continue;
		jobs_let_go(jobs, found);
		entry_forget(&takeover->found, found);
	}
}
