# Tandem. `make help` lists the targets; docs/contributing.md says how to work here.

VERSION := 0.1.0-dev

# ---- sources: one line per layer, low to high; a name is src/<layer>/<name>.c
# A layer may include its own headers and those of the layers listed before it
# (spec/style/layers_spec.lua, which also finds a file that nobody listed).
SRC_util        := addr arena buf counters digest err hep histogram log map mem rand redact siphash slab str timer tokens
SRC_message     := chars glance hdr msg msg_start peek scan scan_uri plain field edit reply
SRC_transport   := admission directory dns_answer flows flows_accept flows_log flows_read \
		   flows_send frame hop limits listener locate locate_order resolver \
		   resolver_note tls_conf via
SRC_transaction := branch key txns server client record
SRC_proxy       := ack answered attempt calls calls_image cancel cookie dialog drain flow follow forward late launch load members nodes note orphan orphan_cancel overload own path places proxy request response route settings settle shared shed shun stateless steps token trying undelivered validate way why
SRC_core        := capture core late receive node shared wire
SRC_lua         := base box env error_rate limit load order oslib sched small strlib strmatch strpat tablib vm \
		   bind_core bind_counter bind_header bind_join bind_json bind_locate bind_member bind_metrics \
		   bind_own bind_request bind_response bind_ruri bind_shared \
		   bind_sticky bind_task bind_tls bind_timer bind_try bind_uri bind_why \
		   console generation script script_apply script_ask script_life script_log \
		   script_plan script_policy
# src/host: the world of a worker (libev, sockets, c-ares, TLS); src/sim: the simulated
# one. On top of the first the control thread, and the command line.
SRC_host        := files keyfile thread logsink transitions mailbox ask join sent sock steer source \
		   worker worker_life worker_listen worker_mail upkeep statefile disk \
		   cputick udp dgram hep outages icmp dns \
		   acceptor stream stream_io \
		   tls tls_name tls_set tls_words
SRC_control     := control startup reload keys stop watch watchdog service \
		   http http_sock verbs observe kept process certs review \
		   notifier program
SRC_cli         := args builtin cli ping tester version
SRC_sim         := sim sim_conn sim_disk sim_dns sim_flow sim_net sim_node sim_pause sim_slow \
		   sim_split sim_stream sim_tls sim_trace sim_worker
# src/lua: only in the Lua module (luaopen_tandem_simcore)
SRC_simmod      := simlib simlib_eval simlib_fault simlib_log simlib_node simlib_stream
# spec/unit/<name>.c and spec/fuzz/<name>.c
UNIT            := addr_test arena_test buf_test calls_test chain_test digest_test hep_test log_test map_test malloc_test mem_test rand_test redact_test siphash_test slab_test str_test timer_test tokens_test capture_test core_test core_hostile_test \
		   counters_test histogram_test \
		   proxy_world proxy_late_test proxy_cancel_test proxy_limits_test \
		   proxy_fork_test proxy_forward_test proxy_route_test proxy_stateless_test \
		   proxy_own_test proxy_icmp_test proxy_noninvite_test \
		   proxy_places_test proxy_addresses_test proxy_names_test \
		   proxy_life_test proxy_nomem_test proxy_path_test proxy_undelivered_test cookie_test token_test why_test \
		   dns_answer_test dns_world locate_test resolver_test \
		   directory_test admission_test flows_test frame_test listener_test load_test members_test via_test branch_test server_match_test \
		   server_test client_test client_cancel_test client_stream_test stub_test txn_world \
		   hdr_test msg_test glance_test scan_test field_test edit_test reply_test torture_test \
		   host_test worker_test heps_test notifier_test service_test statefile_test transitions_test join_test sent_test udp_joined_test udp_test udp_world steer_test stream_test dns_test certs tls_test \
		   fuzz_test console_test error_rate_test vm_test small_test sched_test env_test strlib_test script_test shared_test generation_test
FUZZ            := fuzz_core fuzz_dns fuzz_frame fuzz_key fuzz_lua fuzz_msg fuzz_redact
# what fuzz_core has beside itself; its mutations are libFuzzer's alone
FUZZ_CORE       := world steps
FUZZ_MUTATE     := mutate

# ---- what it needs from Debian
DEPS_build    := gcc libc6-dev make pkg-config liblua5.4-dev libosip2-dev \
		 libev-dev libc-ares-dev libssl-dev libmicrohttpd-dev lua-cjson lua-socket
DEPS_run      := sip-tester lua5.4
DEPS_test     := curl lua5.4 lua-busted lua-check luarocks clang-format sip-tester \
		 sipsak openssl socat baresip-core dnsmasq-base tshark sngrep procps iproute2 keepalived nftables git prometheus \
		 chromium chromium-driver fonts-dejavu-core mandoc man-db systemd strace
DEPS_fuzz     := clang libclang-rt-14-dev
DEPS_coverage := gcovr
DEPS_bench    := lua5.4 sip-tester kamailio kamailio-lua-modules wireshark-common valgrind strace

# ---- flags
# By the name that luarocks uses, which then need not build all again.
ifeq ($(origin CC),default)
CC := gcc
endif
WARN := -Wall
WARN += -Wextra
WARN += -Wshadow
WARN += -Wconversion
WARN += -Wstrict-prototypes
WARN += -Wmissing-prototypes
WARN += -Wundef
WARN += -Wformat=2
WARN += -Wpointer-arith
WARN += -Wvla
ifdef WERROR
WARN += -Werror
endif

# The packages may be installed by this very run: asked for when first used.
pkg = $(shell pkg-config $(1))
PKG_CFLAGS = $(eval PKG_CFLAGS := $(call pkg,--cflags \
	lua5.4 libosip2 libcares openssl libmicrohttpd))$(PKG_CFLAGS)
# Only the parser half of libosip2. The module takes Lua from the interpreter
# that loads it, and holds nothing that needs libev or c-ares.
MOD_LIBS = $(eval MOD_LIBS := -losipparser2 $(call pkg,--libs \
	libcrypto))$(MOD_LIBS)
LIBS = $(eval LIBS := -losipparser2 -lev $(call pkg,--libs lua5.4 libcares \
	openssl libmicrohttpd) -lpthread -lm)$(LIBS)

CPPFLAGS_ALL = -D_GNU_SOURCE -Isrc $(PKG_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL   = -std=c11 -fPIC $(WARN)

RELEASE  := -O3 -g -flto=auto -fstack-protector-strong
HARDEN   := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
SAN      := -O1 -g -fno-omit-frame-pointer $(SANITIZE)
RACES    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
COV      := -O0 -g --coverage
FUZZING  := -O1 -g $(SANITIZE) -fsanitize=fuzzer-no-link
# spec/support/malloc_fail.c, spec/support/send_fail.c
WRAP := -Wl,--wrap=sendmmsg,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=strdup
LDRELEASE := -Wl,-z,relro,-z,now
LDMODULE := -shared -Wl,-Bsymbolic -Wl,-z,nodelete

# ---- where it goes
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LUADIR ?= $(PREFIX)/share/tandem/lua
LIBDIR ?= $(PREFIX)/lib/tandem/lua
MAIN_DEFS = -DTANDEM_VERSION="\"$(VERSION)\"" \
	-DTANDEM_LUADIR="\"$(LUADIR)\"" -DTANDEM_LIBDIR="\"$(LIBDIR)\""

Q := $(if $(V),,@)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
.DELETE_ON_ERROR:

all: build/tandem build/lua/tandem/simcore.so ## build the proxy and the Lua module

# ---- objects, one directory per mode
LAYERS := util message transport transaction proxy core lua
CORE   := $(foreach l,$(LAYERS),$(SRC_$(l):%=$(l)/%.o))
HOST   := $(foreach l,host control cli,$(SRC_$(l):%=$(l)/%.o))
SIM    := $(SRC_sim:%=sim/%.o)
SIMMOD := $(SRC_simmod:%=lua/%.o)
TESTS  := $(UNIT:%=spec/unit/%.o) spec/support/unit.o spec/support/malloc_fail.o spec/support/send_fail.o \
	  $(patsubst %,spec/fuzz/%.o,$(FUZZ) $(FUZZ_CORE))
in      = $(addprefix $(1)/obj/,$(2))

# What the command line says about flags and folders counts as a source: a file
# holds it, and gets a new time when the text is another one.
define changed
@mkdir -p $(@D)
@echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
endef

# For `tandem -VV`.
flags_def = -DTANDEM_FLAGS="\"$(strip $(1))\""

# $(1) directory, $(2) compiler, $(3) flags to compile and link, $(4) and only to
# compile, $(5) only to link
define mode
$(1)/obj/%.o: src/%.c $(1)/obj/flags | build/.deps-build
	@mkdir -p $$(@D)
	@echo "CC $$@"
	$(Q)$(2) $$(CPPFLAGS_ALL) $$(CFLAGS_ALL) $(3) $(4) $$(CFLAGS) -MMD -MP -c -o $$@ $$<
$(1)/obj/spec/%.o: spec/%.c $(1)/obj/flags | build/.deps-build
	@mkdir -p $$(@D)
	@echo "CC $$@"
	$(Q)$(2) $$(CPPFLAGS_ALL) -Ispec $$(CFLAGS_ALL) $(3) $(4) $$(CFLAGS) -MMD -MP -c -o $$@ $$<
$(1)/obj/main.o: private CPPFLAGS_ALL += $$(MAIN_DEFS) $(call flags_def,$(3) $(4) $(5))
$(1)/obj/main.o: $(1)/obj/main.flags
$(1)/obj/flags: FORCE | build/.deps-build
	$$(call changed,$(2) $$(CPPFLAGS_ALL) $$(CFLAGS_ALL) $(3) $(4) $$(CFLAGS))
$(1)/obj/main.flags: FORCE
	$$(call changed,$$(MAIN_DEFS))
$(1)/tandem: $(call in,$(1),main.o $(CORE) $(HOST)) Makefile
	@echo "LD $$@"
	$(Q)$(2) -pie $(3) $(5) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(LIBS)
$(1)/lua/tandem/simcore.so: $(call in,$(1),$(CORE) $(SIM) $(SIMMOD)) Makefile
	@mkdir -p $$(@D)
	@echo "LD $$@"
	$(Q)$(2) $(LDMODULE) $(3) $(5) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(MOD_LIBS)
$(1)/unit: $(call in,$(1),$(TESTS) $(CORE) $(HOST) $(SIM)) Makefile
	@echo "LD $$@"
	$(Q)$(2) -pie $(3) $(5) $$(LDFLAGS) $(WRAP) -o $$@ $$(filter %.o,$$^) $$(LIBS)
$(1)/slow_clients $(1)/cable: $(1)/%: $(1)/obj/spec/support/%.o
	@echo "LD $$@"
	$(Q)$(2) $(3) $$(LDFLAGS) -o $$@ $$<
-include $(patsubst %.o,%.d,$(call in,$(1),spec/support/slow_clients.o spec/support/cable.o main.o $(CORE) $(HOST) $(SIM) $(SIMMOD) $(TESTS)))
endef
$(eval $(call mode,build,$$(CC),$(RELEASE),$(HARDEN),$(LDRELEASE)))
$(eval $(call mode,build/san,$$(CC),$(SAN),,))
$(eval $(call mode,build/tsan,$$(CC),$(RACES),,))
$(eval $(call mode,build/cov,$$(CC),$(COV),,))
$(eval $(call mode,build/fuzz,clang,$(FUZZING),,))

# The unit tests have all targets in one program, to run what they once failed at.
build/san/obj/spec/fuzz/%.o build/cov/obj/spec/fuzz/%.o: \
	private CPPFLAGS_ALL += -DLLVMFuzzerTestOneInput=one_$(notdir $*)

$(FUZZ:%=build/fuzz/%): build/fuzz/%: build/fuzz/obj/spec/fuzz/%.o \
		$(call in,build/fuzz,$(CORE) $(SIM)) Makefile
	@echo "LD $@"
	$(Q)clang $(SANITIZE) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(LIBS)

build/fuzz/fuzz_core: $(call in,build/fuzz,$(patsubst %,spec/fuzz/%.o,$(FUZZ_CORE) $(FUZZ_MUTATE)))
-include $(patsubst %,build/fuzz/obj/spec/fuzz/%.d,$(FUZZ) $(FUZZ_CORE) $(FUZZ_MUTATE))

build/bench/relay: spec/bench/relay.c Makefile | build/.deps-build
	@mkdir -p $(@D)
	@echo "LD $@"
	$(Q)$(CC) -D_GNU_SOURCE $(CFLAGS_ALL) $(RELEASE) -o $@ $<
build/bench/counter.so: spec/bench/counter.c Makefile | build/.deps-build
	@mkdir -p $(@D)
	@echo "LD $@"
	$(Q)$(CC) $(CFLAGS_ALL) $(RELEASE) -shared -fPIC -o $@ $<
build/bench/micro: $(call in,build,spec/bench/micro.o spec/unit/txn_world.o $(CORE)) Makefile
	@mkdir -p $(@D)
	@echo "LD $@"
	$(Q)$(CC) -pie $(RELEASE) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS)
-include build/obj/spec/bench/micro.d build/obj/spec/unit/txn_world.d

build/hang.so build/clock.so: build/%.so: spec/support/%.c Makefile | build/.deps-build
	@echo "LD $@"
	$(Q)$(CC) -D_GNU_SOURCE $(CFLAGS_ALL) -shared -o $@ $<

# ---- run it
run: build/tandem | build/.deps-run ## two answering servers and the proxy in front of them
	@sh examples/run.sh
demo: build/tandem | build/.deps-run ## see a call survive the death of its server
	@sh examples/demo.sh

# ---- test it
SAN_ALL := $(addprefix build/san/,tandem unit slow_clients cable lua/tandem/simcore.so) build/hang.so build/clock.so

test: $(SAN_ALL) build/tsan/tandem all | build/.deps-test ## every spec, sanitised; the last line is the count
	@spec/run
san: $(SAN_ALL) | build/.deps-test ## the sanitised build, for spec/run FILE...
unit: build/san/unit build/san/lua/tandem/simcore.so | build/.deps-test ## C unit tests and spec/unit
	@spec/run c unit
races: build/tsan/tandem all | build/.deps-test ## where workers meet, with four of them, under the race detector
	@spec/run races
sim: build/san/lua/tandem/simcore.so | build/.deps-test ## specs under virtual time
	@spec/run sim
e2e: $(SAN_ALL) all | build/.deps-test ## the binary against real peers
	@spec/run e2e
style: $(SAN_ALL) | build/.deps-test ## rules of the source itself
	@spec/run style

C_FILES = $$(find src spec -name '*.[ch]')
lint: | build/.deps-test ## luacheck and clang-format, changing nothing
	@luacheck -q .
	@clang-format --dry-run -Werror $(C_FILES)
format: | build/.deps-test ## clang-format every C file in place
	@clang-format -i $(C_FILES)

rfc-conformance: | build/.deps-test ## the columns of docs/reference/rfc-conformance.md
	@LUA_PATH='spec/?.lua;;' lua5.4 -e \
		'os.exit(require("support.conformance").write())'

SECONDS ?= 60
TARGET  ?= $(FUZZ)
fuzz: $(TARGET:%=build/fuzz/%) ## libFuzzer: make fuzz SECONDS=60 [TARGET=fuzz_msg]
	@spec/fuzz/run $(SECONDS) $(TARGET)
GC ?= 1
test-gc: $(SAN_ALL) | build/.deps-test ## c, unit and sim specs while garbage is collected before every entry into a script
	@TANDEM_GC=$(GC) SUITE_TIMEOUT=7200 spec/run c unit sim
sweep: san ## memory runs out at every allocation of every scenario, one after the other
	@SWEEP=all SUITE_TIMEOUT=7200 spec/run spec/sim/memory_sweep_spec.lua
coverage: build/cov/unit build/cov/lua/tandem/simcore.so | build/.deps-test build/.deps-coverage ## of the core reached by c, unit and sim specs: at least 90 % of its lines
	@find build/cov -name '*.gcda' -delete
	@BUILD=build/cov spec/run c unit sim
	@spec/support/coverage build/cov $(foreach l,$(LAYERS),src/$l)

attack: $(SAN_ALL) all | build/.deps-test ## hostile messages: all there are in the simulator, then 1000 a second beside calls, for SECONDS
	@TANDEM_HOSTILE=0 spec/run spec/sim/hostile_spec.lua
	@TANDEM_ATTACK=$(SECONDS) spec/run spec/e2e/hostile_spec.lua

chaos: build/lua/tandem/simcore.so | build/.deps-test ## calls in a bad world, invariants checked on every event: SEEDS=100 [FROM=1] [JOBS=2] [SEED=7]
	@spec/chaos/run

bench: build/tandem build/bench/relay build/bench/counter.so | build/.deps-bench ## time, rate, delay, memory beside Kamailio's and a bare relay's: SECTIONS, RATES, RUNS, PEERS, BASELINE=write
	@spec/bench/run
bench-policy: build/lua/tandem/simcore.so | build/.deps-bench ## processor time per choice of a server
	@spec/bench/policy
bench-instructions: build/tandem build/bench/micro build/lua/tandem/simcore.so | build/.deps-bench ## instructions per call by layer, and per operation, counted by valgrind
	@spec/bench/instructions
bench-overload: build/tandem | build/.deps-bench ## what three times too many calls leave, with and without shedding: root
	@spec/bench/overload
bench-reload: build/tandem | build/.deps-bench ## 100 reloads under 200 calls per second, 20 of them of a broken script
	@spec/bench/reload
ha: all | build/.deps-test ## a pair of machines loses a proxy, a link, VRRP under load; 15 minutes, a table
	@BUILD=build spec/run spec/ha/ha_spec.lua
faults: build/tandem $(SAN_ALL) | build/.deps-test ## servers, networks, scripts and clocks that fail under load: what it costs callers
	@spec/bench/faults
soak: build/tandem $(SAN_ALL) | build/.deps-test ## the same by chance, for HOURS=1
	@spec/bench/soak
.PHONY: faults soak

# ---- install it
DATADIR     ?= $(PREFIX)/share
DOCDIR      ?= $(DATADIR)/doc/tandem
MANDIR      ?= $(DATADIR)/man
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
SHAREDIR     = $(DATADIR)/tandem
put = install -Dm$(1) $(2) '$(DESTDIR)$(3)'
OWN_PLACE = ! -path './man/*' ! -path './systemd/*' ! -path './bash-completion/*'
# $(1): mode, $(2): folder, $(3): what find is to take of it, $(4): where that goes
put_tree = cd $(2) && find . $(3) -type f -exec install -Dm$(1) '{}' '$(DESTDIR)$(4)/{}' ';'

build/man/tandem-ctl.8: dist/man/tandem-ctl.8.in dist/man/verbs build/tandem \
		$(wildcard lua/tandem/command/ctl/*.lua lua/tandem/command/ctl/verbs/*.lua)
	@mkdir -p $(@D)
	$(Q)dist/man/verbs build/tandem <$< >$@
install: all build/man/tandem-ctl.8 ## PREFIX=/usr/local, DESTDIR, BINDIR, LUADIR, LIBDIR, UNITDIR, ...
	$(call put,755,build/tandem,$(BINDIR)/tandem)
	$(call put,755,build/lua/tandem/simcore.so,$(LIBDIR)/tandem/simcore.so)
	$(call put_tree,644,lua,\( -name '*.lua' -o -name '*.html' \),$(LUADIR))
	install -d '$(DESTDIR)$(SHAREDIR)'
	ln -srfT '$(DESTDIR)$(LUADIR)/tandem/meta' '$(DESTDIR)$(SHAREDIR)/library'
	$(call put_tree,644,examples,-maxdepth 1 \( -name '*.lua' -o -name '*.json' \),$(DOCDIR)/examples)
	$(call put_tree,644,.,-maxdepth 1 \( -name '*.md' -o -name LICENSE \),$(DOCDIR))
	$(call put_tree,644,dist/man,-name '*.1',$(MANDIR)/man1)
	$(call put_tree,644,dist/man,-name '*.8',$(MANDIR)/man8)
	$(call put,644,build/man/tandem-ctl.8,$(MANDIR)/man8/tandem-ctl.8)
	$(call put_tree,755,dist,$(OWN_PLACE) -perm -u+x,$(SHAREDIR))
	$(call put_tree,644,dist,$(OWN_PLACE) ! -perm -u+x,$(SHAREDIR))
	$(call put,644,dist/bash-completion/tandem,$(DATADIR)/bash-completion/completions/tandem)
	$(call put,644,docs/prometheus/alerts.yml,$(SHAREDIR)/prometheus/alerts.yml)
	$(call put,644,dist/systemd/tandem.sysusers.conf,$(SYSUSERSDIR)/tandem.conf)
	$(call put,644,dist/systemd/tandem.service,$(UNITDIR)/tandem.service)
	sed -i 's|@BINDIR@|$(BINDIR)|' '$(DESTDIR)$(UNITDIR)/tandem.service'
# What install would put there, file by file; and the folders that are ours alone.
uninstall: all ## with the same variables: takes away what install put there
	@t=$$(mktemp -d) && trap 'rm -rf "$$t"' EXIT && $(MAKE) -s install DESTDIR="$$t" && \
	(cd "$$t" && find . ! -type d) | while read -r f; do rm -f '$(DESTDIR)'/"$$f"; done && \
	(cd "$$t" && find . -depth -type d -path '*/tandem*') | while read -r d; do \
		rmdir '$(DESTDIR)'/"$$d" 2>/dev/null || true; done
install-lua: build/lua/tandem/simcore.so
	install -Dm755 $< $(DESTDIR)$(LIBDIR)/tandem/simcore.so
	cd lua && find tandem '(' -name '*.lua' -o -name '*.html' ')' \
		-exec install -Dm644 '{}' '$(DESTDIR)$(LUADIR)/{}' ';'

deps: build/.deps-build build/.deps-test ## Debian packages to build and test (fuzz, coverage: their own)
	@:
build/.deps-%: Makefile
	@mkdir -p build
	@[ -n "$(NO_DEPS)" ] || .ci/deps $(DEPS_$*)
	@touch $@
build/.deps-run build/.deps-test build/.deps-fuzz build/.deps-coverage build/.deps-bench: | build/.deps-build
build/fuzz/obj/flags: | build/.deps-fuzz

clean: ## remove build/
	rm -rf build
help: ## this list (V=1 shows every command, WERROR=1 stops at warnings)
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 12

FORCE:
.PHONY: all run demo test san unit races sim e2e style lint format rfc-conformance attack fuzz sweep test-gc coverage bench bench-policy bench-instructions bench-overload bench-reload ha install install-lua uninstall deps clean help FORCE
