# Builds the extension kvstore.so and the program kvstore; `make help` lists what else there is.
#
#   make                     build both at the top of the repository, objects in build/release
#   make test TESTS='torn*'  build and run some of the tests
#   make test SAN=address    the same under AddressSanitizer and UBSan, all of it in build/asan
#
# CC, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS are the user's. WERROR=1 (or CI in the environment) makes
# warnings errors. V=1 shows the commands. SETUP=: skips the check for missing packages, of which each
# goal needs its own (scripts/setup.sh): `make loadable` a compiler and SQLite's header, no more.

CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
SETUP   ?= scripts/setup.sh
VERSION := $(strip $(shell cat VERSION))
Q       := $(if $(V),,@)

# Texts, numbers and messages are the same in every user's language, and UTF-8 is UTF-8 in Tcl.
export LC_ALL := C.UTF-8

# Debian's sqlite3-pcre put its module in lib/sqlite3; there is no more customary place.
BIN_DIR = $(DESTDIR)$(PREFIX)/bin
LIB_DIR = $(DESTDIR)$(PREFIX)/lib/sqlite3
COMPLETION_DIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
MAN_DIR = $(DESTDIR)$(PREFIX)/share/man/man1

# --- variants: each has its own folder, so that switching between them rebuilds nothing -----------

SAN ?=
ifeq ($(SAN),)
  B := build/release
  # Asserts are for what cannot happen; the sanitizers' builds, which the tests run too, have them.
  VARIANT_FLAGS := -DNDEBUG
  # A call to a function that nothing defines should fail here, not in the user's .load. What is
  # loaded stays to the end of the process, even if SQLite unloads it after a load that failed; in the
  # sanitizers' builds also so that a report can name its functions.
  SO_FLAGS := -Wl,--no-undefined,-z,nodelete
else ifeq ($(SAN),address)
  B := build/asan
  SAN_FLAGS := -fsanitize=address,undefined
else ifeq ($(SAN),undefined)
  B := build/ubsan
  SAN_FLAGS := -fsanitize=undefined
else ifeq ($(SAN),thread)
  B := build/tsan
  SAN_FLAGS := -fsanitize=thread
else ifeq ($(SAN),fuzzer)
  # For `make fuzz` alone: the fuzz targets by clang, with libFuzzer in the place of our driver.
  B := build/libfuzzer
  SAN_FLAGS := -fsanitize=fuzzer-no-link,address,undefined
  FUZZ_MAIN := -fsanitize=fuzzer
else ifeq ($(SAN),coverage)
  # What `make coverage` counts in. Without asserts, as in the release: each would be a branch that
  # nothing can take.
  B := build/coverage
  SAN_FLAGS := --coverage -fprofile-update=atomic
  VARIANT_FLAGS := -DNDEBUG
else
  $(error SAN is address, undefined or thread, not '$(SAN)')
endif
ifneq ($(filter-out coverage,$(SAN)),)
  SAN_FLAGS += -fno-sanitize-recover=all -fno-omit-frame-pointer
  SO_FLAGS := -Wl,-z,nodelete
endif

# The release build stands where `.load ./kvstore` finds it, the others in their folders.
OUT     := $(if $(SAN),$(B)/)
SO      := $(OUT)kvstore.so
PROGRAM := $(OUT)kvstore
STATIC  := $(B)/libkvstore.a

# --- flags ----------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
ifneq ($(CI)$(filter 1,$(WERROR)),)
  WARNINGS += -Werror
endif

# _GNU_SOURCE is defined empty, so that a file which defines it too does not redefine it.
COMPILE = $(CC) -std=c11 -pthread -fPIC -fvisibility=hidden $(WARNINGS) $(SAN_FLAGS) $(VARIANT_FLAGS) \
          -D_GNU_SOURCE= -DKVSTORE_VERSION='"$(VERSION)"' -Isrc $(CPPFLAGS) $(CFLAGS)
LINK    = $(CC) -pthread $(SAN_FLAGS) $(CFLAGS) $(LDFLAGS)

# An earlier tclsh on PATH may lack SQLite's binding; Debian's has it.
TCLSH ?= $(or $(wildcard /usr/bin/tclsh),tclsh)

# --- sources --------------------------------------------------------------------------------------

ENGINE := $(wildcard src/*.c)
FACE   := $(wildcard ext/*.c)
CLI    := $(wildcard src/cli/*.c)
# libuv is the server's event loop, hiredis the client's protocol; the extension needs neither.
CLI_LIBS := -luv -lhiredis -lm
# test/unit/test_*.c and bench/run_*.c are programs of one file; other files beside them help them
# all. The peers' programs need packages that nothing else needs, and may be missing.
UNITS  := $(wildcard test/unit/test_*.c)
HELP   := $(filter-out $(UNITS) test/unit/coverage_%,$(wildcard test/unit/*.c))
ifeq ($(SAN),coverage)
  HELP += test/unit/coverage_dump.c
  UNIT_FLAGS := -Wl,--wrap=_exit,--wrap=raise
endif
# test/fuzz/fuzz_*.c are libFuzzer's entries, each a program with test/fuzz/driver.c.
FUZZ   := $(wildcard test/fuzz/fuzz_*.c)
FUZZ_HELP := $(filter-out $(FUZZ),$(wildcard test/fuzz/*.c))
PEERS  := bench/run_lmdb.c bench/run_rocksdb.c
BENCH  := $(filter-out $(PEERS),$(wildcard bench/run_*.c))
BENCH_HELP := $(filter-out $(wildcard bench/run_*.c) bench/floor.c,$(wildcard bench/*.c))

objects    = $(patsubst %.c,$(B)/%.o,$(1))
OBJECTS   := $(call objects,$(ENGINE) $(FACE) $(CLI) $(UNITS) $(HELP) $(FUZZ) $(FUZZ_HELP) \
               $(wildcard bench/*.c) test/reap.c)
UNIT_BINS := $(UNITS:%.c=$(B)/%)
FUZZ_BINS := $(FUZZ:%.c=$(B)/%)
FUZZ_MAIN ?= $(B)/test/fuzz/driver.o
# Those that go through SQL have the extension and SQLite linked in, so that they reach its insides.
SQL_BINS  := $(filter $(B)/test/unit/test_sql_%,$(UNIT_BINS))
CORE      := $(FACE:%.c=$(B)/core/%.o)
BENCH_BINS := $(BENCH:%.c=$(B)/%) $(B)/bench/floor.so
PEER_BINS := $(PEERS:%.c=$(B)/%)
C_FILES    = $(wildcard $(foreach d,src ext src/cli test test/unit test/fuzz bench,$(d)/*.c $(d)/*.h))

# The tests' guard: it ends whatever a test leaves running, and names it.
REAP      := $(B)/test/reap

# What a goal needs of the machine; every goal that is not named here needs what the tests need.
NEEDS_static      := engine
NEEDS_loadable    := extension
NEEDS_kvstore.so  := extension
NEEDS_program     := program
NEEDS_kvstore     := program
NEEDS_all         := extension program
NEEDS_install     := extension program
NEEDS_demo        := demo
NEEDS_test-matrix := matrix
NEEDS_test-bare   := bare
NEEDS_fuzz        := fuzz
NEEDS_coverage    := coverage
NEEDS_bench       := bench
NEEDS_bench-check := instructions
NEEDS_format      := format
NEEDS_format-check := format
NEEDS_clean       := engine
NEEDS_uninstall   := engine
NEEDS := $(sort $(foreach g,$(or $(MAKECMDGOALS),all),$(or $(NEEDS_$(g)),tests)))

# --- targets --------------------------------------------------------------------------------------

.PHONY: all loadable program static unit fuzz-targets test test-matrix test-bare soak crash kills fuzz fuzz-quick \
        coverage mutants demo bench bench-check format format-check lint install uninstall clean help setup FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: loadable program ## Build the extension and the program (the default).

loadable: $(SO) ## Build the extension, kvstore.so.

program: $(PROGRAM) ## Build the program, kvstore.

static: $(STATIC) ## Build the engine without SQLite as build/release/libkvstore.a.

unit: $(UNIT_BINS) ## Build the unit tests, each a program in build/release/test/unit.

fuzz-targets: $(FUZZ_BINS)

test: all unit fuzz-targets $(BENCH_BINS) $(REAP) | setup ## Build and run every test; TESTS='savepoint torn*' runs a selection.
	$(Q)set -f; BUILD=$(B) SAN=$(SAN) CC='$(CC)' KVSTORE_LIB='$(abspath $(SO))' \
	  KVSTORE_BIN='$(abspath $(PROGRAM))' test/run.sh $(TESTS)

test-matrix: program $(BENCH_BINS) $(REAP) | setup ## The same in several releases of SQLite, which npm fetches; TESTS, RELEASES.
	$(Q)set -f; CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' LDLIBS='$(LDLIBS)' \
	  KVSTORE_BIN='$(abspath $(PROGRAM))' test/matrix.sh $(TESTS)

test-bare: | setup ## README's two commands on a bare Debian 12 and 13, as root (build/bare); TESTS, RELEASES.
	$(Q)set -f; TESTS='$(TESTS)' test/bare.sh $(RELEASES)

soak: all $(REAP) | setup ## Compare with an ordinary table at random for MINUTES (60), a seed for STEPS (100000).
	$(Q)end=$$(($$(date +%s) + 60 * $(or $(MINUTES),60))); while \
	  TWIN_STEPS=$(or $(STEPS),100000) BUILD=$(B) SAN=$(SAN) CC='$(CC)' KVSTORE_LIB='$(abspath $(SO))' \
	  KVSTORE_BIN='$(abspath $(PROGRAM))' test/run.sh twin || exit 1; [ $$(date +%s) -lt $$end ]; do :; done

crash: unit ## Open what 100,000 different crashes leave of the disk; CRASH_STATES: another number.
	$(Q)rm -rf $(B)/crash && mkdir -p $(B)/crash && cd $(B)/crash && \
	  CRASH_STATES=$(or $(CRASH_STATES),100000) ../test/unit/test_crash

kills: all unit $(REAP) | setup ## Kill writers and servers 1,000 times (KILLS: another number): is anything lost?
	$(Q)BUILD=$(B) SAN=$(SAN) CC='$(CC)' KVSTORE_LIB='$(abspath $(SO))' \
	  KVSTORE_BIN='$(abspath $(PROGRAM))' test/kills.sh $(or $(KILLS),1000)

# clang, whatever the tests are compiled with: only it has libFuzzer.
fuzz: | setup ## Search with libFuzzer for inputs that break something, for MINUTES (10); TARGETS='log table'.
	$(Q)$(MAKE) --no-print-directory SAN=fuzzer CC=clang SETUP=: fuzz-targets
	$(Q)FUZZ_SECONDS='$(SECONDS)' test/fuzz.sh '$(MINUTES)' $(TARGETS)

fuzz-quick: fuzz-targets $(REAP) | setup ## Run all inputs of test/fuzz/corpus, and some made from them.
	$(Q)BUILD=$(B) SAN=$(SAN) CC='$(CC)' test/run.sh 'fuzz_*'

# -O0, so that a branch of the machine is one of the source. What is wrong with the files of counts, such
# as a test's limit on the size of files, is said in gcov.txt instead of among what the tests print.
coverage: export GCOV_ERROR_FILE = $(CURDIR)/build/coverage/gcov.txt
coverage: setup ## Run the tests in a build that counts; a table of lines and branches taken.
	$(Q)rm -rf build/coverage/html build/coverage/gcov.txt && \
	  { [ ! -d build/coverage ] || find build/coverage -name '*.gcda' -delete; }
	$(Q)$(MAKE) --no-print-directory SAN=coverage CFLAGS='-O0 -g' test TESTS='$(TESTS)'
	$(Q)mkdir -p build/coverage/html && gcovr --root . --filter src/ --filter ext/ \
	  --html-details build/coverage/html/index.html build/coverage
	$(Q)test/coverage.py $(if $(TESTS),--table)

mutants: | setup ## Break the engine in many ways: do the tests notice? MUTANTS=name: some of them.
	$(Q)test/mutants.sh '$(MUTANTS)'

demo: all $(BENCH_BINS) | setup ## Show what it does, in ten to twenty seconds.
	$(Q)demo/demo.sh

bench: all $(BENCH_BINS) | setup ## Measure every target beside its peers; QUICK=1, ONLY='T5 T6'.
	-$(Q)$(MAKE) --no-print-directory -k $(PEER_BINS)
	$(Q)BUILD=$(B) QUICK=$(QUICK) PUBLISH=$(PUBLISH) $(TCLSH) bench/bench.tcl $(ONLY)

bench-check: all $(BENCH_BINS) | setup ## Count the instructions of hot paths, fail if they grew; UPDATE=1.
	$(Q)BUILD=$(B) UPDATE=$(UPDATE) CC='$(CC)' $(TCLSH) bench/check.tcl $(ONLY)

format: | setup ## Format the C sources.
	$(Q)clang-format -i $(C_FILES)

format-check: | setup ## Tell which C sources are not formatted.
	$(Q)clang-format --dry-run -Werror $(C_FILES)

# Off are checks that want memcpy_s, misread va_start, dislike f(size, offset) as such, or say again
# what -Wconversion says better.
comma := ,
empty :=
TIDY  := $(subst $(empty) ,$(comma),$(strip clang-analyzer-* bugprone-* \
  -clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling \
  -clang-analyzer-valist.* -bugprone-easily-swappable-parameters \
  -bugprone-implicit-widening-of-multiplication-result -bugprone-narrowing-conversions \
  -bugprone-not-null-terminated-result -bugprone-sizeof-expression \
  -bugprone-suspicious-memory-comparison -bugprone-assignment-in-if-condition))

lint: ## Run clang-tidy and cppcheck, whichever is there.
	$(Q)if command -v clang-tidy >/dev/null; then \
	  printf '%s\n' $(ENGINE) $(FACE) $(CLI) | xargs -P "$$(nproc)" -I FILE \
	    clang-tidy --quiet --warnings-as-errors='*' --checks='$(TIDY)' FILE -- \
	    -std=c11 -D_GNU_SOURCE= '-DKVSTORE_VERSION="$(VERSION)"' -Isrc $(CPPFLAGS); \
	else echo 'lint: no clang-tidy here' >&2; fi
	$(Q)if command -v cppcheck >/dev/null; then \
	  cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -Isrc \
	    --enable=warning,portability,performance --suppress=missingIncludeSystem \
	    $(ENGINE) $(FACE) $(CLI); \
	else echo 'lint: no cppcheck here' >&2; fi

INSTALLED = '$(LIB_DIR)/kvstore.so' '$(BIN_DIR)/kvstore' '$(MAN_DIR)/kvstore.1' '$(COMPLETION_DIR)/kvstore'

install: all ## Install into PREFIX (/usr/local): lib/sqlite3/kvstore.so, bin/kvstore, its manual.
	install -D -m 644 $(SO) '$(LIB_DIR)/kvstore.so'
	install -D -m 755 $(PROGRAM) '$(BIN_DIR)/kvstore'
	install -D -m 644 docs/kvstore.1 '$(MAN_DIR)/kvstore.1'
	install -D -m 644 completions/kvstore.bash '$(COMPLETION_DIR)/kvstore'

uninstall: ## Remove what `make install` has installed there.
	rm -f $(INSTALLED)

# A test that was killed may leave folders that it has made read-only.
clean: ## Remove everything that was built.
	$(Q)[ ! -d build ] || chmod -R u+rwX build 2>/dev/null || :
	rm -rf build kvstore kvstore.so

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' Makefile

# Says and does nothing where nothing is missing, and is cheap, so it always runs.
setup:
	@CC='$(CC)' $(SETUP) $(NEEDS)

# --- how each file is made ------------------------------------------------------------------------

$(SO): $(call objects,$(ENGINE) $(FACE)) $(B)/sources
	@echo '  LINK $@'
	$(Q)$(LINK) -shared $(SO_FLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

$(PROGRAM): $(call objects,$(CLI)) $(STATIC) $(B)/sources
	@echo '  LINK $@'
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(STATIC) $(CLI_LIBS) $(LDLIBS)

# Made anew each time: ar would keep the object of a source that is gone.
$(STATIC): $(call objects,$(ENGINE)) $(B)/sources
	@echo '  AR   $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

$(SQL_BINS): $(B)/%: $(B)/%.o $(call objects,$(HELP)) $(CORE) $(STATIC)
	@echo '  LINK $@'
	$(Q)$(LINK) $(UNIT_FLAGS) -o $@ $^ -lsqlite3 $(LDLIBS)

# The program's own modules, for the tests of those.
$(B)/test/unit/test_resp: $(B)/src/cli/resp.o
$(B)/test/unit/test_glob: $(B)/src/cli/glob.o $(B)/src/cli/value.o
$(B)/test/unit/test_server_turn: $(filter-out %/main.o,$(call objects,$(CLI)))

# A test that needs a library names it.
UNIT_LIBS_test_hiredis := -lhiredis
UNIT_LIBS_test_server_turn := $(CLI_LIBS)

$(filter-out $(SQL_BINS),$(UNIT_BINS)): $(B)/%: $(B)/%.o $(call objects,$(HELP)) $(STATIC)
	@echo '  LINK $@'
	$(Q)$(LINK) $(UNIT_FLAGS) -o $@ $(filter-out $(STATIC),$^) $(STATIC) $(UNIT_LIBS_$(*F)) $(LDLIBS)

# The modules beside the engine that a fuzz target is about.
CLI_PARTS := $(filter-out %/main.o,$(call objects,$(CLI)))
$(B)/test/fuzz/fuzz_resp: $(B)/src/cli/resp.o
$(B)/test/fuzz/fuzz_glob: $(B)/src/cli/glob.o
$(B)/test/fuzz/fuzz_words: $(B)/src/cli/value.o $(B)/src/cli/options.o
$(B)/test/fuzz/fuzz_log: $(B)/test/fuzz/log_mutator.o $(B)/src/cli/tool_check.o $(B)/src/cli/tool.o $(B)/src/cli/bytes.o
$(B)/test/fuzz/fuzz_command: $(CLI_PARTS)
$(B)/test/fuzz/fuzz_table: $(CORE)
FUZZ_LIBS_fuzz_command := $(CLI_LIBS)
FUZZ_LIBS_fuzz_table := -lsqlite3

$(FUZZ_BINS): $(B)/%: $(B)/%.o $(filter %.o,$(FUZZ_MAIN)) $(STATIC)
	@echo '  LINK $@'
	$(Q)$(LINK) $(filter -%,$(FUZZ_MAIN)) -o $@ $(filter-out $(STATIC),$^) $(STATIC) \
	  $(FUZZ_LIBS_$(*F)) $(LDLIBS)

# A benchmark that needs a library names it.
BENCH_LIBS_run_sql := -lsqlite3
BENCH_LIBS_run_lmdb := -llmdb
BENCH_LIBS_run_rocksdb := -lrocksdb

# The engine by itself, and the server's reading of requests.
$(B)/bench/run_engine: $(B)/src/cli/resp.o $(STATIC)

$(filter-out %.so,$(BENCH_BINS)) $(PEER_BINS): $(B)/%: $(B)/%.o $(call objects,$(BENCH_HELP))
	@echo '  LINK $@'
	$(Q)$(LINK) -o $@ $(filter-out $(STATIC),$^) $(filter $(STATIC),$^) $(BENCH_LIBS_$(*F)) $(LDLIBS)

$(REAP): $(B)/test/reap.o
	@echo '  LINK $@'
	$(Q)$(LINK) -o $@ $^ $(LDLIBS)

$(B)/bench/floor.so: $(B)/bench/floor.o
	@echo '  LINK $@'
	$(Q)$(LINK) -shared $(SO_FLAGS) -o $@ $< $(LDLIBS)

$(OBJECTS): $(B)/%.o: %.c $(B)/flags | setup
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

$(CORE): $(B)/core/%.o: %.c $(B)/flags | setup
	@mkdir -p $(@D)
	@echo '  CC   $< (core)'
	$(Q)$(COMPILE) -DSQLITE_CORE -MMD -MP -c -o $@ $<

# Two files that change only when their text does: other flags recompile, other sources relink.
$(B)/flags: export TEXT = $(COMPILE)
$(B)/sources: export TEXT = $(LINK) $(SO_FLAGS) $(LDLIBS) $(ENGINE) $(FACE) $(CLI)
$(B)/flags $(B)/sources: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$TEXT" | cmp -s - $@ || printf '%s\n' "$$TEXT" > $@

-include $(OBJECTS:.o=.d) $(CORE:.o=.d)
