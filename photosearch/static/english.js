// Every word the page shows, in English. A translation is a second table like this one.

/** Numbers and plurals are written by Intl, in strings.js. */
export function english({ number, count }) {
  const photos = (n) => count(n, "photo", "photos");

  /** Seconds -> "about 6 min", coarser the longer it is. */
  const duration = (seconds) => {
    if (seconds < 50) return "less than a minute";
    const minutes = Math.round(seconds / 60);
    if (minutes < 90) return `about ${number(minutes)} min`;
    return `about ${count(Math.round(minutes / 60), "hour", "hours")}`;
  };

  return {
    title: "Photo search",
    placeholder: "Search your photos",
    boxLabel: "Search your photos by what they show",
    clear: "Clear the search",
    gridLabel: "Photos",
    matchesLabel: "Matches",
    newest: "Newest photos",
    found: (n, more) => (more ? `${number(n)}+ photos` : photos(n)),
    foundFor: (n, more, query) =>
      `${more ? `More than ${photos(n)}` : n ? photos(n) : "No photos"} for ${query}`,
    newestShown: (n) => `Newest photos: ${number(n)} shown`,
    lessLikely: "Less likely",
    showLessLikely: "Show less likely photos",
    hint: "Keys",
    photoAlt: (name, date, place, offline, similar) =>
      [name, date, place, offline ? "offline" : "", similar ? `and ${number(similar)} similar` : ""]
        .filter(Boolean)
        .join(", "),
    offline: "offline",
    goOn: "Suggestions",
    forgetSearch: (query) => `Forget the search ${query}`,
    examplesLabel: "Searches to try",
    try: "Try",

    likeChip: (name) => `like: ${name}`,
    removeLike: (name) => `Stop looking for photos like ${name}`,
    likeThis: "the chosen photo",
    understood: "How the search was understood",
    editPart: (part) => `Change ${part}`,
    removePart: (part) => `Remove ${part}`,

    similarShort: (n) => `+${number(n)}`,
    showSimilar: (n) => `Show ${count(n, "similar photo", "similar photos")}`,
    similarChip: (name) => `with ${name}`,
    removeSimilar: (name) => `Back from the photos similar to ${name}`,
    similarTo: "the chosen photo and those like it",

    noMatch: (query) => `Nothing looks like “${query}”`,
    noMatchLike: "Nothing looks like the chosen photo",
    allHidden: "Every photo is hidden from search",
    allHiddenAdvice: "Folders and settings lead to them.",
    noMatchAdvice: "Try other words: what the photo shows, not what it is called.",
    notIndexed: (n) =>
      `${count(n, "photo is", "photos are")} not indexed yet and may still match.`,
    showAnyway: "Show the nearest anyway",
    without: (part) => `Without ${part}`,
    looser: "Look again",
    firstPhotos: "Your photos appear here",
    firstPhotosAdvice: "They can be searched as soon as each one is indexed, starting now.",
    noPhotos: "No photos here yet",
    noPhotosAdvice: (folders) => `Put photos into ${folders}, and they appear here by themselves.`,

    signIn: "Open photosearch again",
    signInAdvice: "To keep your photos private, this page opens only from your own terminal. Run",
    signInCommand: "photosearch open",
    signInOr: "or",
    signInOtherCommand: "python3 app.py open",
    signInLabel: "Or paste a code, link or token here",
    signInButton: "Sign in",

    indexed: (done, all, left) =>
      [`${number(done)} of ${number(all)}`, left].filter(Boolean).join(" – "),
    timeLeft: duration,
    looking: "Looking through your folders…",
    ready: (n) => `${photos(n)} searchable`,
    readyAnnounced: (n) => `Indexing finished. ${photos(n)} can be searched.`,
    progressAnnounced: (done, all, left) =>
      [`Indexed ${number(done)} of ${photos(all)}`, left].filter(Boolean).join(", "),
    pausedAt: (done, all) => `Paused – ${number(done)} of ${number(all)}`,
    paused: "Indexing is paused",
    pause: "Pause indexing",
    resume: "Resume indexing",
    progressLabel: "Indexing",

    rejected: (n) => `${count(n, "file", "files")} not readable`,
    rejectedTitle: "Files that could not be read",
    rejectedAdvice: "They are tried again when they change. Nothing was altered.",
    rejectedMore: (n) => `And ${number(n)} more.`,
    tryAgain: "Try again",
    triedAgain: (n) => `Reading ${count(n, "file", "files")} again…`,
    offlineRoots: (folders) => `Not connected: ${folders}`,
    offlineTitle: "Folders that are not connected",
    offlineRootsAdvice:
      "Their photos stay searchable and come back by themselves. Connect the drive, then look again.",
    lookAgain: "Look again",
    lookingAgain: "Looking again…",

    library: "Folders and settings",
    folders: "Folders",
    folderOffline: "not connected",
    forget: "Forget",
    forgetFolder: (path) => `Forget ${path}`,
    forgotten: (path) => `${path} is no longer searched. The photos stay where they are.`,
    undo: "Undo",
    hiddenPhotos: (n) => `${count(n, "photo is", "photos are")} hidden from search.`,
    showHidden: "Show",
    showHiddenPhotos: "Show hidden photos",
    addFolder: "Add a folder",
    addFolderLabel: "Path of a folder of photos",
    add: "Add",
    added: (path) => `${path} is being indexed.`,
    settings: "Settings",
    settingNames: {
      max_cpu: "Processor share for indexing, percent",
      sweep_minutes: "Minutes between two full looks at the folders",
      thumbnail_mb: "Most megabytes of thumbnails",
      pause_on_battery: "Pause indexing on battery",
      read_text: "Find text inside pictures",
      history: "Remember searches",
    },
    saved: "Saved.",
    forgetSearches: "Forget past searches",
    searchesForgotten: "Past searches are forgotten.",
    check: "Check the library",
    checking: "Checking…",
    checkTitle: "The library’s health",
    healthy: "Everything is in order.",
    unsearchable: (n) => `${count(n, "file", "files")} cannot be searched.`,

    privacy: "Nothing leaves this computer",
    privacyTitle: "Nothing leaves this computer",
    privacyAdvice:
      "Your photos are searched by a program on this computer. It answers this page only, and opens no other connection.",
    openOutside: "Connections to other computers now",
    attemptsOutside: (since) => `Attempts to reach one, ${since}`,
    sinceStart: (seconds) =>
      seconds < 90 ? "since the start a moment ago" : `since the start ${duration(seconds)} ago`,
    listeningOutside: "Ways in from other computers",
    notTold: "this system does not say",
    bytesSent: "Bytes sent to other computers",
    kept: "Kept on this computer",
    indexSize: "Index",
    thumbnailSize: "Thumbnails",
    logSize: "Log, without your searches",
    home: "In the folder",
    model: "Model",
    deleteAll: "Delete all data…",
    deleteTitle: "Delete all data",
    deleteAdvice: (home) =>
      `Index, thumbnails, imported models, settings, past searches and log in ${home} are deleted. photosearch stops, and does not start at login any more. Your photos stay as they are.`,
    deleteLabel: (word) => `Type “${word}” to go on`,
    deleteWord: "delete",
    deleteNow: "Delete",
    deleted: "All data is deleted",
    deletedAdvice: "photosearch has stopped. Your photos are where they were. To begin anew, run",
    startCommand: "photosearch --library DIR",
    megabytes: (bytes) => `${number(bytes < 950_000 ? Math.ceil(bytes / 1e5) / 10 : Math.round(bytes / 1e6))} MB`,

    down: "photosearch is not running. Trying again…",
    notRunning: "photosearch is not running.",
    failed: "That did not work.",
    notConnected: (name) => `${name} is in a folder that is not connected now.`,
    opening: (name) => `Opening ${name}…`,
    revealing: (name) => `Showing ${name} in its folder…`,
    copied: (name) => `Copied ${name}`,
    copiedPath: "Copied the path",
    notCopied: "This browser does not let the page copy a picture. The path was copied.",

    open: "Open",
    reveal: "Show in folder",
    copy: "Copy",
    moreLikeThis: "More like this",
    hide: "Hide",
    unhide: "Find again",
    hiddenNow: (name, n) =>
      `${n > 1 ? photos(n) : name} will not be found any more. The ${n > 1 ? "files stay where they are" : "file stays where it is"}.`,
    foundAgain: (name, n) => `${n > 1 ? photos(n) : name} can be found again.`,
    close: "Close",
    previous: "Previous photo",
    next: "Next photo",
    previewLabel: (name) => `Preview of ${name}`,
    pixels: (width, height) => `${number(width)} × ${number(height)}`,
    why: "Why it was found",

    keysTitle: "Keys",
    keys: [
      [["/"], "Go to the search box"],
      [["↓"], "From the box into the photos"],
      [["←", "→", "↑", "↓"], "Move between photos"],
      [["Home", "End"], "First and last photo"],
      [["End"], "At the end of the words: take the first suggestion"],
      [["Space"], "Preview, and close it"],
      [["Enter"], "Open the photo"],
      [["Ctrl", "Enter"], "Show the photo in its folder"],
      [["Ctrl", "C"], "Copy the photo"],
      [["Ctrl", "Shift", "C"], "Copy its path"],
      [["Shift", "Enter"], "More like this photo"],
      [["Alt", "Enter"], "The similar photos it stands for"],
      [["Delete"], "Hide the photo from search; the file stays"],
      [["Ctrl", "Z"], "Undo that"],
      [["Esc"], "Back: preview, photos, text"],
      [["?"], "This list"],
    ],
    dragHint: "Or drag a photo into another program.",
    macControl: "⌘",
  };
}
