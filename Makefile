# `make` and `make help` list the targets: a comment with two `#` after a target is its line in that list.

CARGO ?= cargo
# Without the allocator of the shipped binary, whose build takes the longest.
DEV = --locked --features full
SHIPPED = --locked --features full,jemalloc
BINARY = $(or $(CARGO_TARGET_DIR),target)/debug/clickedge
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release/clickedge

.DEFAULT_GOAL := help
.PHONY: help run test gate judge fuzz release deb image dist bench manual words semver tools package-tools

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: tools ## Build, and start the demo on 127.0.0.1:8080
	@$(CARGO) build $(DEV)
	@BINARY=$(BINARY) conf/demo/hints.sh
	@exec $(BINARY) serve --config conf/demo.toml

# Topics whose requests matter, which also run without the fast lane.
BOTH_WAYS = redirect:: lookup_agrees:: limits:: event:: quality:: visitors:: hostile:: front:: upstream:: stop:: privacy:: judge::kills judge::points

# Tests wait about as long as they compute, so there is one more at a time than there are cores.
test: export RUST_TEST_THREADS ?= $(shell expr $$(nproc) + 1)
test: tools ## Run every test, and those of requests again without the fast lane
	@$(CARGO) test $(DEV)
	@FAST_LANE=false $(CARGO) test $(DEV) --test integration -- $(BOTH_WAYS)

gate: ## Run what CI runs: words, format, clippy, tests, configuration files, docs
	@.ci/run

judge: tools ## Run the long form of the crash and fault tests, see tests/README.md
	@JUDGE_KILLS=200 JUDGE_BACKLOG_MB=2048 JUDGE_LATENCY_MILLIS=10000 \
	  $(CARGO) test $(DEV) --test integration judge:: -- --nocapture --test-threads 1
	@COUNTS_CLICKS=1000000 $(CARGO) test $(DEV) --test integration whatever_kills_it -- --nocapture

FUZZ_SECS ?= 600

fuzz: tools ## Change valid inputs at random, ten minutes for each parser
	@FUZZ_SECS=$(FUZZ_SECS) $(CARGO) test $(DEV) --test integration fuzz:: -- --nocapture --test-threads 1

release: tools ## Build the binary for production, with link-time optimisation
	@$(CARGO) build $(SHIPPED) --release
	@! grep -aqE 'CLICKEDGE_(LEAK|LOG_ALL|DIE_AT|PANIC_AT)' $(RELEASE) || { echo "$(RELEASE) holds what is for tests only"; exit 1; }

# A binary that exists is packed as it is: make deb PACKED=target/debug/clickedge
PACKED ?= $(RELEASE)
packed = $(if $(filter $(RELEASE),$(PACKED)),release)

LINTIAN = lintian --allow-root --fail-on error,warning --tag-display-limit 0

deb: package-tools $(packed) ## Make the Debian package, and check it with lintian
	@deb=$$(conf/packages/deb.sh $(PACKED)) && $(LINTIAN) "$$deb" && echo "$$deb"

image: package-tools $(packed) ## Make an OCI image
	@conf/packages/image.sh $(PACKED)

dist: package-tools tools ## Make all that is published: tarball, packages, image, SBOM, checksums
	@command -v cargo-cyclonedx >/dev/null || $(CARGO) install --quiet --locked cargo-cyclonedx@0.5.9
	@conf/packages/dist.sh

bench: tools ## Measure CPU per redirect next to nginx, see bench/README.md
	@bench/redirect.sh

manual: tools ## Write the generated tables of src/manual/*.md again
	@UPDATE_MANUAL=1 $(CARGO) test $(DEV) --lib manual::

words: ## Check the wording of code and documents
	@.ci/words

# The last release, if there is one.
BASE ?= $(shell git describe --tags --abbrev=0 2>/dev/null)

semver: ## Compare the API of the library with that of the last release, or of BASE=COMMIT
	@if ! command -v cargo-semver-checks >/dev/null; then \
	  echo 'cargo-semver-checks is not installed (cargo install --locked cargo-semver-checks@0.51.0): skipped'; \
	elif [ -z "$(BASE)" ]; then \
	  echo 'there is no release to compare with: skipped'; \
	else \
	  $(CARGO) semver-checks --baseline-rev $(BASE) --only-explicit-features --features full; \
	fi

# zlib-ng is built with cmake and a C compiler, ISA-L with a C compiler, nasm and autotools. As root on Debian this
# installs them; other users get the command. A tool is `command:package`.
TOOLS = cc:build-essential cmake:cmake nasm:nasm autoreconf:autoconf automake:automake libtoolize:libtool
PACKAGE_TOOLS = dpkg-shlibdeps:dpkg-dev objcopy:binutils lintian:lintian python3:python3 xz:xz-utils
tools: ## Install the build tools of zlib-ng and ISA-L, or print how
	@$(call install,$(TOOLS),build)

package-tools: ## Install the tools that make packages, or print how
	@$(call install,$(PACKAGE_TOOLS),make packages)
	@command -v cargo-deb >/dev/null || $(CARGO) install --quiet --locked cargo-deb@3.8.0

define install
missing=; \
for tool in $(1); do \
  command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
done; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing$$missing"; \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
  else \
    echo "clickedge needs$$missing to $(2). Run this, then try again:"; \
    echo "  sudo apt-get install -y$$missing"; \
    exit 1; \
  fi; \
fi
endef
