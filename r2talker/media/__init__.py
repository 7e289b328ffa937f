"""Pictures and sound in and out of files; the only room that knows PyAV."""
