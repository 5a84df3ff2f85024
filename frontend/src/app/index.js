// What every page loads. Pages are whole without it: it keeps them up to date and spares some ways.
import { confirmInPlace } from "./confirm.js";
import { live } from "./live.js";
import { followLogs } from "./log.js";
import { keepSheet } from "./sheet.js";
import { copyText, printPage, showCurrent } from "./small.js";
import { themeToggle } from "./theme.js";

themeToggle();
confirmInPlace();
copyText();
printPage();
showCurrent();
followLogs();
live();
keepSheet();
