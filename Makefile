# The scripts, for those who type `make`.
.PHONY: help run test check fix bench

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile
run: ## set up and start the proxy
	scripts/run
test: ## set up and run every test
	scripts/test
check: ## format, lint, types, import rules
	scripts/check
fix: ## the same, mending what can be mended
	scripts/check --fix
bench: ## measure beside nginx
	scripts/bench
