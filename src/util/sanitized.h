/*
 * Whether this is a build with the address sanitizer: memory that is kept for
 * reuse would hide from it that a block is used after its end.
 */
#ifndef UTIL_SANITIZED_H
#define UTIL_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
