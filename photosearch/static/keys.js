// The keyboard map: which key does what, and where. What is done is told by `does`.

import { isRightToLeft } from "./strings.js";

/**
 * Hear keys for the box and for the whole page. `does`: {isElsewhere(), isInGrid(), isLooking(),
 * enterGrid(), leaveGrid(), move(key), preview(), open(), reveal(), like(), group(), copy(), copyPath(),
 * hide(), undo(), meant(), suggestion(), take(suggestion), clear(), stopLooking(), help()}.
 */
export function listenToKeys(box, does) {
  const isSelecting = () => box.selectionStart !== box.selectionEnd;

  function keydown(event) {
    if (event.defaultPrevented) return; // the preview has dealt with it, and may be closed by now
    if (event.isComposing || event.keyCode === 229) return; // an input method is at work
    if (does.isElsewhere()) return;
    if (event.target === box) return boxKey(event);
    const isForAll = event.key === "/" || event.key === "?";
    if (event.target.closest("input, textarea, a, button") && !isForAll) return;
    if (event.key === "/") return act(event, () => box.select());
    // Pressed beside everything, letters are meant for the box, and arrows for the photos.
    const isMeant = event.key.length === 1 ? event.key !== " " : /^(ArrowDown|Esc)/.test(event.key);
    const isCommand = event.ctrlKey || event.metaKey || event.altKey;
    if (isCommand || !(isMeant || does.isInGrid())) return;
    if (event.key === "Tab" || event.key === "Shift") return;
    box.focus({ preventScroll: true });
    boxKey(event);
  }

  function boxKey(event) {
    const { key } = event;
    const command = event.ctrlKey || event.metaKey;
    if (key === "Enter") return act(event, () => enterKey(event, command));
    if (command && key.toLowerCase() === "c" && does.isInGrid() && !isSelecting()) {
      return act(event, event.shiftKey ? does.copyPath : does.copy);
    }
    if (command && key.toLowerCase() === "z" && !event.shiftKey) {
      // Of what was done with a photo, or else of what was typed; never that, from the photos.
      if (does.undo() || does.isInGrid()) event.preventDefault();
      return;
    }
    if (command || event.altKey || (event.shiftKey && key !== "?")) return;
    if (key === "Escape") return act(event, escapeKey);
    if (key === "?" && (does.isInGrid() || box.value === "")) return act(event, does.help);
    if (key === "/" && box.value === "") return act(event, () => {});
    if (!does.isInGrid()) {
      if (key === "ArrowDown") act(event, does.enterGrid);
      else if (isOnwards(key) && box.selectionStart === box.value.length && does.suggestion()) {
        act(event, () => does.take(does.suggestion()));
      }
      else if (key === "Backspace" && box.value === "" && does.isLooking()) {
        act(event, does.stopLooking);
      }
      return;
    }
    if (key === " ") act(event, does.preview);
    else if (key === "Delete") act(event, () => event.repeat || does.hide());
    else if (/^(Arrow|Home$|End$)/.test(key)) act(event, () => does.move(key));
  }

  function enterKey({ shiftKey, altKey }, command) {
    if (!does.isInGrid()) {
      does.meant();
      does.enterGrid();
    } else if (shiftKey) does.like();
    else if (altKey) does.group();
    else if (command) does.reveal();
    else does.open();
  }

  function escapeKey() {
    if (does.isInGrid()) does.leaveGrid();
    else if (box.value) does.clear();
    else if (does.isLooking()) does.stopLooking();
  }

  document.addEventListener("keydown", keydown);
}

/** At the end of what is typed these lead nowhere else. */
const isOnwards = (key) => key === "End" || (key === "ArrowRight" && !isRightToLeft);

function act(event, run) {
  event.preventDefault();
  run();
}
