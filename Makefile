# README's two commands are `make run` and `make test`; the rest is listed by `make help`.
CARGO ?= cargo
BIN   := target/release/pilothouse

.DEFAULT_GOAL := help
.PHONY: help run ui dev dev-safe test test-fast test-claude test-agents test-clients test-containers docker-build docker-run test-images test-chart test-vm test-systemd test-install test-docs test-examples recording conformance check fuzz soak bench bench-repository fmt clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

run: ## build and serve: Claude Code where it is found and has a credential, else the demo agent
	@tools/bubblewrap.sh
	@tools/build.sh
	@exec $(BIN) serve $(ARGS)

ui: ## build the page of the dashboard (npm); the next build of the program holds it
	@exec tools/ui.sh

dev: ## serve a debug build; rebuild and restart when a source changes
	@tools/bubblewrap.sh
	@exec tools/dev.sh $(ARGS)

dev-safe: ## like `make run`, with an empty environment
	@tools/bubblewrap.sh
	@tools/build.sh
	@exec env -i PATH="$$PATH" HOME="$$HOME" TERM="$${TERM:-dumb}" $(BIN) serve $(ARGS)

test: ## all tests; installs what they need; ends with counts
	@exec tools/test.sh all

test-fast: ## all tests but those with real agents and the foreign clients
	@exec tools/test.sh fast

test-claude: ## the tests with the real Claude Code alone
	@exec tools/test.sh claude

test-agents: ## every agent that has a preset, with a scripted model; prints the table of docs/agents.md; then the newest Claude Code
	@exec tools/agents.sh

test-clients: ## frameworks that people use (Google ADK and others), installed and run; prints the table of docs/clients.md
	@$(CARGO) build --workspace --bins --quiet
	@tests/clients/install.sh
	@exec tests/clients/run.py

test-containers: ## the container backend, with Docker and Podman engines of its own (ENGINE=docker|podman for one)
	@exec tools/test-containers.sh $(ENGINE)

test-docs: ## the commands, outputs, settings and links of all pages (half a minute)
	@exec tests/docs/test.sh

test-examples: ## the examples, as far as one machine without a network can (half a minute)
	@exec tests/examples/test.sh

recording: ## the terminal recording of README.md (docs/first-minute.svg), from a debug build
	@exec tools/recording.py

conformance: ## a public conformance kit: TCK=CHECKOUT PYTHON=PYTHON [KIT=1.0|0.3] (docs/conformance.md)
	@exec tools/conformance.sh

docker-build: ## build both images around a static binary (docs/containers.md)
	@exec tools/docker-build.sh all

docker-run: ## run the agent image: takes in .env, works in ./workspace, prints the token and a curl line
	@exec tools/docker-run.sh $(ARGS)

test-images: ## both images, built and run by an engine started here (root, Debian)
	@exec tools/test-images.sh

test-chart: ## chart, Kustomize, DevSpace: rendered, checked, run under podman (docs/kubernetes.md)
	@exec tools/test-chart.sh

test-vm: ## systemd, control groups and an old kernel, in an emulated machine
	@exec tools/test-vm.sh $(ARGS)

test-systemd: ## the unit, by systemd's own tools
	@exec tools/test-systemd.sh

test-install: ## installer, release steps, versions; PILOTHOUSE_BIN=static binary
	@exec tests/install/test.sh

check: ## formatting, lints, documentation; licences, doubled versions and advisories of crates (deny.toml)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet --document-private-items
	@tools/fuzz.sh --check
	@tools/deny.sh

fuzz: ## each decoder of foreign bytes under libFuzzer (TIME=seconds of each, TARGETS="jsonrpc rest ...")
	@exec tools/fuzz.sh $(TARGETS)

soak: ## full numbers on a release build: 10,000 hang-ups, 300 kills, crowds, 1,000 starts (HANG_UPS=, KILLS=, CROWD=, STARTS=, SEED=)
	@exec tools/soak.sh

bench: ## the table of figures: release build, native stub agent, durable store
	@exec tools/bench.sh $(ARGS)

bench-repository: ## what a session costs in a repository of 50,000 files, beside git itself (a minute; ARGS="--files 5000")
	@$(CARGO) build --release --quiet
	@exec tools/bench-repository.py $(ARGS)

fmt: ## format everything
	$(CARGO) fmt --all

clean: ## remove what was built and installed
	$(CARGO) clean
	rm -rf .tools
