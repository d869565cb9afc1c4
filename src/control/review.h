/*
 * What `tandem check` warns of: what is right, and yet probably not meant. The
 * script's half of it is lua/tandem/config/review.lua.
 */
#ifndef CONTROL_REVIEW_H
#define CONTROL_REVIEW_H

struct control;

/* Of a script that was loaded. One line on standard error for each warning; how
 * many there were. Nothing is said of a script that is no file. */
unsigned long review_print(const struct control *c);

#endif
