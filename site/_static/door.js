"use strict";
// The head of the first page: MR on the left of the pointer, CT on its right; the slider does the same from the keyboard.
{
  const door = document.querySelector(".door"), head = door.querySelector(".head"), slider = door.querySelector("input");
  const turn = (share) => head.style.setProperty("--at", `${100 - share}%`);
  slider.addEventListener("input", () => turn(slider.value));
  head.addEventListener("pointermove", (event) => {
    const box = head.getBoundingClientRect();
    slider.value = 100 - (100 * (event.clientX - box.left)) / box.width;
    turn(slider.value);
  });
}
