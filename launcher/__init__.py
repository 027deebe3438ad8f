"""The counter: turns what people type into calls of hijack; knows no kernel."""
