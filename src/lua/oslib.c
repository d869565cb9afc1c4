#include "lua/vm_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <lualib.h>

/*
 * os: time as the core was told it, in UTC; nothing else of the system.
 * math: the stock functions, with the core's randomness.
 */

enum { DAY = 86400 };
/* Years up to about 30 million, far from any overflow. */
static const int64_t TIME_MAX = 1000000000000000;

struct date {
	int64_t year;
	int month, day, hour, min, sec; /* month and day from 1 */
	int wday, yday;                 /* Sunday is 1; from 1 */
};

/* ---- the calendar -------------------------------------------------------- */

/* Days from 1970-01-01 of a day in the proleptic Gregorian calendar. The year
 * begins in March, so that the leap day is its last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t m = month - 1, era, in_era, in_year;

	year += m / 12 - (m % 12 < 0 ? 1 : 0);
	m = (m % 12 + 12) % 12; /* January is 0 */
	if (m < 2)
		year--;
	era = (year >= 0 ? year : year - 399) / 400;
	in_era = year - era * 400;
	in_year = (153 * ((m + 10) % 12) + 2) / 5 + day - 1;
	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 +
	       in_year - 719468;
}

static void date_of(int64_t t, struct date *d)
{
	int64_t days = t / DAY, rest = t % DAY;

	if (rest < 0)
		rest += DAY, days -= 1;
	d->hour = (int)(rest / 3600);
	d->min = (int)(rest / 60 % 60);
	d->sec = (int)(rest % 60);
	d->wday = (int)(((days + 4) % 7 + 7) % 7) + 1;
	/* A first guess at the year is never more than one off. */
	d->year = 1970 + (int64_t)floor((double)days / 365.2425);
	while (days_of(d->year, 1, 1) > days)
		d->year--;
	while (days_of(d->year + 1, 1, 1) <= days)
		d->year++;
	d->yday = (int)(days - days_of(d->year, 1, 1)) + 1;
	d->month = 12;
	while (days_of(d->year, d->month, 1) > days)
		d->month--;
	d->day = (int)(days - days_of(d->year, d->month, 1)) + 1;
}

/* ---- os.date ------------------------------------------------------------- */

static const char *const day_name[] = {"Sunday",    "Monday",   "Tuesday",
				       "Wednesday", "Thursday", "Friday",
				       "Saturday"};
static const char *const month_name[] = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

/* What stands for others. */
static const char *composed(char c)
{
	switch (c) {
	case 'c':
		return "%a %b %e %H:%M:%S %Y";
	case 'D':
	case 'x':
		return "%m/%d/%y";
	case 'F':
		return "%Y-%m-%d";
	case 'r':
		return "%I:%M:%S %p";
	case 'R':
		return "%H:%M";
	case 'T':
	case 'X':
		return "%H:%M:%S";
	default:
		return NULL;
	}
}

static int hour12(const struct date *d)
{
	return d->hour % 12 ? d->hour % 12 : 12;
}

static int century(const struct date *d)
{
	return (int)((d->year >= 0 ? d->year : d->year - 99) / 100);
}

/* Pushes what one conversion gives; false for one there is not. */
static bool push_number(lua_State *L, char c, const struct date *d)
{
	char text[32];
	int value, width = 2;

	switch (c) {
	case 'C':
		value = century(d);
		break;
	case 'd':
		value = d->day;
		break;
	case 'H':
		value = d->hour;
		break;
	case 'I':
		value = hour12(d);
		break;
	case 'j':
		value = d->yday;
		width = 3;
		break;
	case 'm':
		value = d->month;
		break;
	case 'M':
		value = d->min;
		break;
	case 'S':
		value = d->sec;
		break;
	case 'u':
		value = d->wday == 1 ? 7 : d->wday - 1;
		width = 1;
		break;
	case 'w':
		value = d->wday - 1;
		width = 1;
		break;
	case 'y':
		value = (int)(d->year - (int64_t)century(d) * 100);
		break;
	default:
		return false;
	}
	snprintf(text, sizeof(text), "%0*d", width, value);
	lua_pushstring(L, text);
	return true;
}

static bool push_text(lua_State *L, char c, const struct date *d)
{
	switch (c) {
	case 'a':
		lua_pushlstring(L, day_name[d->wday - 1], 3);
		return true;
	case 'A':
		lua_pushstring(L, day_name[d->wday - 1]);
		return true;
	case 'b':
	case 'h':
		lua_pushlstring(L, month_name[d->month - 1], 3);
		return true;
	case 'B':
		lua_pushstring(L, month_name[d->month - 1]);
		return true;
	case 'e':
		lua_pushfstring(L, d->day < 10 ? " %d" : "%d", d->day);
		return true;
	case 'n':
		lua_pushliteral(L, "\n");
		return true;
	case 'p':
		lua_pushstring(L, d->hour < 12 ? "AM" : "PM");
		return true;
	case 't':
		lua_pushliteral(L, "\t");
		return true;
	case 'Y':
		lua_pushfstring(L, "%I", (LUAI_UACINT)d->year);
		return true;
	case 'z':
		lua_pushliteral(L, "+0000");
		return true;
	case 'Z':
		lua_pushliteral(L, "UTC");
		return true;
	case '%':
		lua_pushliteral(L, "%");
		return true;
	default:
		return false;
	}
}

static void add_format(lua_State *L, luaL_Buffer *b, const char *s, size_t n,
		       const struct date *d)
{
	for (size_t i = 0; i < n; i++) {
		const char *whole;

		if (s[i] != '%') {
			luaL_addchar(b, s[i]);
			continue;
		}
		i++;
		whole = i < n ? composed(s[i]) : NULL;
		if (whole)
			add_format(L, b, whole, strlen(whole), d);
		else if (i < n &&
			 (push_number(L, s[i], d) || push_text(L, s[i], d)))
			luaL_addvalue(b);
		else
			luaL_error(L, "invalid conversion '%%%c' in os.date",
				   i < n ? s[i] : ' ');
	}
}

static void set_int(lua_State *L, const char *key, int64_t value)
{
	lua_pushinteger(L, value);
	lua_setfield(L, -2, key);
}

/* Into the table at the top. */
static void set_fields(lua_State *L, const struct date *d)
{
	set_int(L, "year", d->year);
	set_int(L, "month", d->month);
	set_int(L, "day", d->day);
	set_int(L, "hour", d->hour);
	set_int(L, "min", d->min);
	set_int(L, "sec", d->sec);
	set_int(L, "wday", d->wday);
	set_int(L, "yday", d->yday);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "isdst");
}

static double wall(lua_State *L)
{
	const struct vm_host *h = &vm_of(L)->conf.host;

	return h->wall ? h->wall(h->ctx) : 0;
}

static int os_date(lua_State *L)
{
	size_t n;
	const char *s = luaL_optlstring(L, 1, "%c", &n);
	int64_t t = lua_isnoneornil(L, 2) ? (int64_t)floor(wall(L))
					  : luaL_checkinteger(L, 2);
	struct date d;
	luaL_Buffer b;

	if (t > TIME_MAX || t < -TIME_MAX)
		return luaL_error(L, "time is out of range");
	vm_charge(L, n);
	date_of(t, &d);
	if (n > 0 && *s == '!') /* local time is UTC too */
		s++, n--;
	if (n >= 2 && s[0] == '*' && s[1] == 't') {
		lua_createtable(L, 0, 9);
		set_fields(L, &d);
		return 1;
	}
	luaL_buffinit(L, &b);
	add_format(L, &b, s, n, &d);
	luaL_pushresult(&b);
	return 1;
}

/* ---- os.time and the rest ------------------------------------------------ */

static int64_t get_field(lua_State *L, const char *key, int64_t missing)
{
	int64_t v = missing;
	int ok = 1;

	if (lua_getfield(L, 1, key) != LUA_TNIL)
		v = lua_tointegerx(L, -1, &ok);
	else if (missing == INT64_MIN)
		return luaL_error(L, "field '%s' missing in date table", key);
	if (!ok)
		luaL_error(L, "field '%s' is not an integer", key);
	if (v > INT32_MAX || v < INT32_MIN)
		luaL_error(L, "field '%s' is out-of-bound", key);
	lua_pop(L, 1);
	return v;
}

static int os_time(lua_State *L)
{
	int64_t year, month, day, hour, min, sec, t;
	struct date d;

	if (lua_isnoneornil(L, 1)) {
		lua_pushinteger(L, (lua_Integer)floor(wall(L)));
		return 1;
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	year = get_field(L, "year", INT64_MIN);
	month = get_field(L, "month", INT64_MIN);
	day = get_field(L, "day", INT64_MIN);
	hour = get_field(L, "hour", 12);
	min = get_field(L, "min", 0);
	sec = get_field(L, "sec", 0);
	t = days_of(year, month, day) * DAY + hour * 3600 + min * 60 + sec;
	if (t > TIME_MAX || t < -TIME_MAX)
		return luaL_error(L, "time is out of range");
	date_of(t, &d);
	lua_settop(L, 1);
	set_fields(L, &d);
	lua_pushinteger(L, t);
	return 1;
}

static int os_clock(lua_State *L)
{
	const struct vm_host *h = &vm_of(L)->conf.host;

	lua_pushnumber(L, h->mono ? h->mono(h->ctx) : 0);
	return 1;
}

static int os_difftime(lua_State *L)
{
	lua_pushnumber(L, luaL_checknumber(L, 1) - luaL_checknumber(L, 2));
	return 1;
}

void env_os(lua_State *L)
{
	static const luaL_Reg ours[] = {{"clock", os_clock},
					{"date", os_date},
					{"difftime", os_difftime},
					{"time", os_time},
					{NULL, NULL}};

	luaL_setfuncs(L, ours, 0);
}

/* ---- math ---------------------------------------------------------------- */

static uint64_t draw(lua_State *L)
{
	const struct vm_host *h = &vm_of(L)->conf.host;

	if (!h->rand)
		luaL_error(L, "there is no randomness here");
	return h->rand(h->ctx);
}

/* Uniform in 0..most: values that would favour some remainders are drawn
 * again. */
static uint64_t draw_upto(lua_State *L, uint64_t most)
{
	uint64_t n = most + 1, skip, x;
	int tries = 64; /* more only if the source is broken */

	if (n == 0)
		return draw(L);
	skip = (0 - n) % n;
	do
		x = draw(L);
	while (x < skip && --tries > 0);
	return x % n;
}

static int math_random(lua_State *L)
{
	lua_Integer low = 1, high;

	switch (lua_gettop(L)) {
	case 0:
		lua_pushnumber(L, (lua_Number)(draw(L) >> 11) * 0x1p-53);
		return 1;
	case 1:
		high = luaL_checkinteger(L, 1);
		if (high == 0) {
			lua_pushinteger(L, (lua_Integer)draw(L));
			return 1;
		}
		break;
	case 2:
		low = luaL_checkinteger(L, 1);
		high = luaL_checkinteger(L, 2);
		break;
	default:
		return luaL_error(L, "wrong number of arguments");
	}
	luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
	lua_pushinteger(
	    L, (lua_Integer)(draw_upto(L, (uint64_t)high - (uint64_t)low) +
			     (uint64_t)low));
	return 1;
}

static int math_randomseed(lua_State *L)
{
	return luaL_error(L, "math.randomseed is not available: randomness "
			     "comes from the core's seed, leave the call out");
}

void env_math(lua_State *L)
{
	static const char *const stock[] = {
	    "abs",        "ceil", "floor",     "max",  "min",  "fmod",
	    "modf",       "sqrt", "exp",       "log",  "sin",  "cos",
	    "tan",        "asin", "acos",      "atan", "deg",  "rad",
	    "ult",        "type", "tointeger", "pi",   "huge", "maxinteger",
	    "mininteger", NULL};
	static const luaL_Reg ours[] = {{"random", math_random},
					{"randomseed", math_randomseed},
					{NULL, NULL}};

	lua_pushcfunction(L, luaopen_math);
	lua_call(L, 0, 1);
	env_take(L, stock);
	luaL_setfuncs(L, ours, 0);
}
