"""Manifests: what the storage keeps of every run beside its stages, so that its log can be written later."""
