/* The sizes that the kernel counts memory and disks in. */
#ifndef UBLKD_PAGE_H
#define UBLKD_PAGE_H

#include <stddef.h>

#define SECTOR 512u /* bytes, whatever a disk's blocks are */

/* So many bytes, and those that are left of the last page. */
size_t page_round_up(size_t bytes);

#endif
