#include <string.h>

#include "message/reply.h"
#include "transaction/inner.h"

/* The image is one block: the request, then the reason line of a CANCEL. */
static struct str kept_reason(const struct client *c)
{
	if (!c->reason_n)
		return STR_NONE;
	return (struct str){c->image.p + c->image.n, c->reason_n};
}

static bool index_image(struct client *c, struct msg *m)
{
	return c->image.p && !c->image_is_ack &&
	       msg_index(m, c->txns->scratch, c->image) == MSG_OK;
}

static bool write_shrunk(struct client *c, struct str reason, struct str *out_r,
			 size_t *image_n_r)
{
	struct msg m;
	struct buf b;

	if (!index_image(c, &m))
		return false;
	buf_arena(&b, c->txns->scratch, 1024);
	if (reply_write_image(&m, &b) < 0)
		return false;
	*image_n_r = buf_str(&b).n;
	buf_put(&b, reason);
	*out_r = buf_str(&b);
	return buf_ok(&b);
}

void client_shrink(struct client *c, struct str reason)
{
	struct txns *t = c->txns;
	bool failed = scratch_begin(t);
	struct str bytes;
	size_t n;
	char *p;

	if (!reason.n)
		reason = kept_reason(c);
	if (write_shrunk(c, reason, &bytes, &n) &&
	    (p = mem_realloc(t->mem, (void *)c->image.p, bytes.n))) {
		memcpy(p, bytes.p, bytes.n);
		c->image = (struct str){p, n};
		c->reason_n = bytes.n - n;
	}
	scratch_end(t, failed);
}

struct str client_write_cancel(struct client *c, struct str reason)
{
	struct txns *t = c->txns;
	bool failed = scratch_begin(t), ok;
	struct msg m;
	struct buf b;

	if (!reason.n)
		reason = kept_reason(c);
	buf_arena(&b, t->scratch, 1024);
	ok = index_image(c, &m) && reply_write_cancel(&m, reason, &b) == 0 &&
	     buf_ok(&b);
	scratch_end(t, failed);
	return ok ? buf_str(&b) : STR_NONE;
}

void client_drop_image(struct client *c)
{
	owned_free(c->txns->mem, &c->image);
	c->reason_n = 0;
}

/* Without memory the image stays, and the next repetition of the response makes
 * the ACK anew. */
static void make_ack(struct client *c, const struct msg *response)
{
	struct txns *t = c->txns;
	struct msg m;
	struct buf b;

	buf_arena(&b, t->scratch, 1024);
	if (!index_image(c, &m) || reply_write_ack(&m, response, &b) < 0 ||
	    !buf_ok(&b)) {
		count(t->counters, CNT_NOMEM);
		return;
	}
	/* By the way of its INVITE (17.1.1.3), while there is one. */
	c->hop.conn = txns_send(t, &c->hop, buf_str(&b), CNT_SENT_REQUEST);
	if (owned_set(t->mem, &c->image, buf_str(&b)) < 0)
		return;
	c->image_is_ack = true;
	c->reason_n = 0;
}

void client_ack(struct client *c, const struct msg *response)
{
	struct txns *t = c->txns;
	bool failed;

	if (c->image_is_ack) {
		count(t->counters, CNT_RETRANS_OUT);
		txns_send(t, &c->hop, c->image, CNT_SENT_REQUEST);
		return;
	}
	failed = scratch_begin(t);
	make_ack(c, response);
	scratch_end(t, failed);
}
