"""The neonize package seen from outside: found, loaded thin, read and, for the emulator only, redirected.

Neonize is a Go library (whatsmeow) behind a ctypes binding. Its package inits pull in Pillow, libmagic, an HTTP client
and a downloader, none of which Tandem uses. This package goes round them:

* ``package``  finds neonize without running it and loads its binding or its protobuf classes behind empty inits;
* ``memory``   finds constants in the loaded shared library, demanding exactly one hit each;
* ``tokens``   reads the binary protocol's token tables out of the library, so that nothing is vendored;
* ``timings``  reads and writes the library's keep-alive timings;
* ``redirect`` points the library at an emulator on loopback. Nothing imports it except behind an explicit switch.

It imports neither ``tandem`` nor ``wa_emulator``; both stand on it.
"""
