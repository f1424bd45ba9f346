"""Layouts of prompts: our markers, chat templates, and the choice between them."""
