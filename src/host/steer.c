#include "host/steer.h"

#include <linux/filter.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * A program of the classic kind, which needs no privilege and knows no loops:
 * so it looks at every fourth byte once, for any of the four words of the
 * cookie that may begin there.
 */

enum {
	STEP = 4, /* a word */
	/* Where the cookie may begin. The topmost Via need not be the first
	 * header, but nearly all have it there; one that is not found is handed
	 * over. */
	FIRST = 32,
	LAST = 256,
	/* Beyond the end of a message there is nothing to be read. */
	LEAST = LAST + 16,
	ROOM = 1024,
	/* Of no socket: the addresses decide. */
	NOBODY = 0xffff,
	/* Only in a program that is not finished. */
	FOUND = BPF_JMP | BPF_JA,
};

/* What our branches begin with (transaction/branch.h); the worker follows. */
static const char cookie[] = "z9hG4bK1";

struct program {
	struct sock_filter code[ROOM];
	unsigned short n;
};

static void put(struct program *p, int code, uint32_t k)
{
	p->code[p->n++] = (struct sock_filter){(uint16_t)code, 0, 0, k};
}

/* How many instructions are left out when A is that, and when it is not. */
static void check(struct program *p, int how, uint32_t k, uint8_t yes,
		  uint8_t no)
{
	p->code[p->n++] =
	    (struct sock_filter){(uint16_t)(BPF_JMP | BPF_K | how), yes, no, k};
}

static uint32_t word(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 |
	       (uint32_t)u[2] << 8 | u[3];
}

static void leave_others(struct program *p)
{
	put(p, BPF_LD | BPF_W | BPF_LEN, 0);
	check(p, BPF_JGE, LEAST, 0, 2);
	put(p, BPF_LD | BPF_W | BPF_ABS, 0);
	check(p, BPF_JEQ, word("SIP/"), 1, 0);
	put(p, BPF_RET | BPF_K, NOBODY);
}

/* X: where the cookie begins, if a part of it is here. */
static void look_at(struct program *p, uint32_t at)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, at);
	for (uint32_t i = 0; i < STEP; i++) {
		check(p, BPF_JEQ, word(cookie + i), 0, 2);
		put(p, BPF_LDX | BPF_IMM, at - i);
		put(p, FOUND, 0);
	}
}

static void all_that_found_come_here(struct program *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (p->code[i].code == FOUND)
			p->code[i].k = p->n - i - 1;
}

/* A: the value of the hexadecimal digit at X + k; of anything else some number.
 */
static void read_digit(struct program *p, uint32_t k)
{
	put(p, BPF_LD | BPF_B | BPF_IND, k);
	put(p, BPF_ALU | BPF_OR | BPF_K, 0x20);
	check(p, BPF_JGE, 'a', 0, 1);
	put(p, BPF_ALU | BPF_SUB | BPF_K, 'a' - '0' - 10);
	put(p, BPF_ALU | BPF_SUB | BPF_K, '0');
}

static void choose(struct program *p, unsigned workers)
{
	const uint32_t digits = sizeof(cookie) - 1;

	/* All eight: what was seen may have been the end of another word. */
	for (uint32_t i = 0; i <= STEP; i += STEP) {
		put(p, BPF_LD | BPF_W | BPF_IND, i);
		check(p, BPF_JEQ, word(cookie + i), 1, 0);
		put(p, BPF_RET | BPF_K, NOBODY);
	}
	read_digit(p, digits);
	put(p, BPF_ALU | BPF_LSH | BPF_K, 4);
	put(p, BPF_ST, 0);
	read_digit(p, digits + 1);
	put(p, BPF_LDX | BPF_W | BPF_MEM, 0);
	put(p, BPF_ALU | BPF_ADD | BPF_X, 0);
	put(p, BPF_ALU | BPF_MOD | BPF_K, workers);
	put(p, BPF_RET | BPF_A, 0);
}

int steer_responses(int fd, unsigned workers)
{
	struct program p = {.n = 0};
	struct sock_fprog whole = {.filter = p.code};

	leave_others(&p);
	for (uint32_t at = FIRST; at < LAST; at += STEP)
		look_at(&p, at);
	put(&p, BPF_RET | BPF_K, NOBODY);
	all_that_found_come_here(&p);
	choose(&p, workers);
	whole.len = p.n;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &whole,
			  sizeof(whole));
}
