"""The commands of ``lid-mapmix``, a module each."""
