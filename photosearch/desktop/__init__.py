"""The native search bar: a frameless window over the API's client. Needs the extra [desktop].

Start with bar.py, the window; app.py puts it together with hot key, tray and door.
hotkeys/ and walk.py know nothing of Qt.
"""
