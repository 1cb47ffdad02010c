# The whole of it; Meson does the building. `make quickstart` goes from nothing to a running machine.
BUILD ?= build
PREFIX ?= /usr/local

.PHONY: quickstart build check bench torture fuzz lint format install clean

quickstart:
	scripts/quickstart

# The programs end up in build/bin/.
build: $(BUILD)/build.ninja
	ninja -C $(BUILD)
	scripts/collect-programs $(BUILD)

$(BUILD)/build.ninja:
	meson setup --prefix=$(PREFIX) -Dtests=disabled $(BUILD)

# Everything that must hold before a change goes in; CI runs the same.
check:
	scripts/check

lint:
	scripts/lint --whole

format:
	git ls-files '*.c' '*.h' | xargs clang-format-14 -i

# Numbers, never a verdict; BENCH="main files": those alone.
bench:
	scripts/bench $(BENCH)

# Kills every process of banger at its system calls; KILLS of them, what SEED says. `make check` does it for a minute.
KILLS ?= 2000
torture:
	scripts/torture --kills $(KILLS) $(if $(SEED),--seed $(SEED))

# FUZZ_SECONDS for each target; what it finds is added to the corpus by hand.
fuzz:
	scripts/fuzz

install: build
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-bench build-check build-clang build-fuzz build-torture
