// Copy buttons: <button data-copy="id of an input" hidden>. Without this script they stay hidden.

const SHOWN_FOR = 2000; // ms

const live = document.createElement("p");
live.className = "visually-hidden";
live.setAttribute("role", "status");
document.body.append(live);

async function copy(input) {
  try {
    await navigator.clipboard.writeText(input.value); // undefined on plain http, and may be forbidden
    return true;
  } catch {
    input.focus();
    input.select(); // stays selected, so that copying by hand is one key away
    return document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const input = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  let timer;
  button.addEventListener("click", async () => {
    const said = (await copy(input)) ? "Copied" : "Not copied";
    button.textContent = live.textContent = said;
    clearTimeout(timer);
    timer = setTimeout(() => {
      button.textContent = label;
      live.textContent = "";
    }, SHOWN_FOR);
  });
  input.addEventListener("click", () => input.select());
  button.hidden = false;
}
