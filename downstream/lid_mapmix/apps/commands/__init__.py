"""The commands of ``lid-mapmix``, one module each."""
