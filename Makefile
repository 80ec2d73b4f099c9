# The two commands of the README, and what they share.
#
#   make run      build, and start the demo on 127.0.0.1:8080
#   make test     what proves the project; CI runs the same
#   make judge    the long form of the tests that kill it, see tests/README.md
#   make release  the binary for production, with link-time optimisation

CARGO ?= cargo
BINARY = $(or $(CARGO_TARGET_DIR),target)/debug/clickedge
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release/clickedge

.PHONY: run test judge release bench tools

run: tools
	@$(CARGO) build --locked
	@BINARY=$(BINARY) conf/demo/hints.sh
	@exec $(BINARY) serve --config conf/demo.toml

test: tools
	@$(CARGO) test --locked

judge: tools
	@JUDGE_KILLS=200 JUDGE_BACKLOG_MB=2048 JUDGE_LATENCY_MILLIS=10000 \
	  $(CARGO) test --locked --test integration judge:: -- --nocapture --test-threads 1
	@COUNTS_CLICKS=1000000 $(CARGO) test --locked --test integration whatever_kills_it -- --nocapture

release: tools
	@$(CARGO) build --locked --release
	@! grep -aqE 'CLICKEDGE_(LEAK|DIE_AT|PANIC_AT)' $(RELEASE) || { echo "$(RELEASE) holds what is for tests only"; exit 1; }

bench: tools
	@bench/redirect.sh

# zlib-ng is built with cmake and a C compiler. As root on Debian they are installed; anybody else is told how.
tools:
	@missing=; \
	command -v cmake >/dev/null || missing="cmake"; \
	command -v cc >/dev/null || missing="$$missing build-essential"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $$missing"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else \
	    echo "clickedge needs $$missing to build. Run this, then try again:"; \
	    echo "  sudo apt-get install -y $$missing"; \
	    exit 1; \
	  fi; \
	fi
