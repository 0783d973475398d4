"""An OpenFaaS-compatible gateway for one machine: proxy, durable async route, events, metrics and a process provider."""

VERSION = "0.1.0"
