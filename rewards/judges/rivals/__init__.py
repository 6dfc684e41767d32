"""The judges that AUTO-J was compared with, each behind the same `Judge` protocol as any other."""
