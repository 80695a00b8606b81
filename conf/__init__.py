"""The configuration files; shipped as the package mam.conf."""
