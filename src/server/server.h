/*
 * The server: one thread and one libev loop for every device, every queue and
 * every admin client. Started by the keeper, never by hand.
 */
#ifndef UBLKD_SERVER_H
#define UBLKD_SERVER_H

#define SERVER_NAME	 "ublkd-server" /* in ps */
#define SERVER_FD	 3		/* its end of the socketpair */
#define SERVER_FILES_MAX 65536ul /* descriptors, for DEVICES_MAX devices */

/*
 * Serve until the keeper says to stop and every device is gone, or until the
 * process is killed. is_hot: sleep in a busy ring (loop.c). Returns the exit status.
 */
int server_run(int is_hot) __attribute__((cold));

#endif
