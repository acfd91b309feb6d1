// The upload form, a little kinder: names and sizes before uploading, files dropped anywhere on the page, a sign of life
// while it uploads. The browser still sends the form itself, so all of it works without this script too.

const SHOWN = 10; // names; the rest is counted

const form = document.getElementById("upload");
const [input, chosen, status, progress] = ["file", "chosen", "status", "progress"].map((id) => document.getElementById(id));
const { maxFiles, maxBytes, maxSize } = form.dataset;

function human(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

const count = (number) => `${number} ${number === 1 ? "file" : "files"}`;

function row(file) {
  const [item, name, size] = ["li", "bdi", "span"].map((tag) => document.createElement(tag));
  name.textContent = file.name;
  size.textContent = human(file.size);
  item.append(name, size);
  return item;
}

function complaint(files, bytes) {
  if (files.length > Number(maxFiles)) return `These are ${count(files.length)}; a share holds at most ${maxFiles}.`;
  if (maxBytes && bytes > Number(maxBytes)) return `This is ${human(bytes)}; a share holds at most ${maxSize}.`;
  return "";
}

function show() {
  const files = [...input.files];
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const wrong = complaint(files, bytes);
  const more = files.length > SHOWN ? `, ${files.length - SHOWN} of them not listed` : "";
  chosen.replaceChildren(...files.slice(0, SHOWN).map(row));
  chosen.hidden = !files.length;
  progress.hidden = true;
  status.textContent = wrong || (files.length ? `${count(files.length)}, ${human(bytes)} in all${more}.` : "");
  status.classList.toggle("wrong", wrong !== "");
  input.setCustomValidity(wrong); // the browser then refuses to send the form, and says why
}

input.addEventListener("change", show);
window.addEventListener("pageshow", show); // also on coming back with the Back button

form.addEventListener("submit", () => {
  status.textContent = "Uploading. Keep this page open until the link is here.";
  progress.hidden = false;
});
window.navigation?.addEventListener("navigateerror", show); // the upload was stopped

const carriesFiles = (event) => event.dataTransfer.types.includes("Files");
const mark = (on) => input.classList.toggle("over", on);

document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault(); // else the browser would leave the page and open the file
  mark(true);
});
document.addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  mark(false);
  if ([...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory)) {
    status.textContent = "A folder cannot be shared as it is: drop the files in it.";
    return;
  }
  input.files = event.dataTransfer.files;
  show();
});
